"""The names of Services, asked of the API for each question: what CoreDNS does, in small."""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import threading
from collections.abc import Callable

_FREEBIND = 15
"""IP_FREEBIND: an address may be bound that the box hasn't yet."""
_ZONE = ".svc.cluster.local"
_A, _IN = 1, 1
_NO_SUCH_NAME = 3


class Names:
    """Answers on UDP at `address`, port 53; `ask` gets a path of the API, None where it is none."""

    def __init__(self, address: str, ask: Callable[[str], bytes | None]) -> None:
        self._ask = ask
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        self._socket.bind((address, 53))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            question, who = self._socket.recvfrom(512)
            self._socket.sendto(self._answer(question), who)

    def _answer(self, question: bytes) -> bytes:
        name, end = _name(question)
        kind = struct.unpack("!H", question[end : end + 2])[0]
        address = self._address(name)
        records = b""
        if address and kind == _A:
            packed = ipaddress.IPv4Address(address).packed
            records = struct.pack("!HHHIH", 0xC00C, _A, _IN, 5, 4) + packed
        code = 0 if address else _NO_SUCH_NAME
        head = question[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, bool(records), 0, 0)
        return head + question[12 : end + 4] + records

    def _address(self, name: str) -> str:
        service, _, namespace = name.removesuffix(_ZONE).partition(".")
        if not name.endswith(_ZONE) or "." in namespace:
            return ""
        found = self._ask(f"/api/v1/namespaces/{namespace}/services/{service}")
        return str(json.loads(found)["spec"]["clusterIP"]) if found else ""


def _name(question: bytes) -> tuple[str, int]:
    """The name that is asked, and where it ends."""
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    return ".".join(labels), at + 1
