"""Names of a box: its own, and the one by which k3s knows its node."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from hardtack.deploy.facts import texts
from hardtack.deploy.facts.unreadable import unreadable

HOST = Path("etc/hostname")
_CERTIFICATE = Path("var/lib/rancher/k3s/agent/client-kubelet.crt")
_ID = Path("etc/rancher/node/id")
_NODE = b"system:node:"
_COMMON_NAME = bytes.fromhex("0603550403")  # as DER begins one
_NONE = ("", "localhost", "localhost.localdomain", "localhost6", "localhost6.localdomain")
"""Names that systemd, NetworkManager and dhclient take for none, and replace by a lease's."""


def of_host(root: Path) -> str:
    """The host name that no lease changes, in small letters as k3s takes it; empty for none."""
    lines = texts.of(root / HOST).splitlines()
    words = (line.strip().lower() for line in lines)
    name = next((word for word in words if word and not word.startswith("#")), "")
    return "" if name in _NONE else name


def of_node(root: Path, *, with_id: bool) -> str:
    """What k3s called its node when it ran here, by the certificate of its kubelet; empty where it
    didn't. `with_id`: k3s adds an id of its own, which is left out. Raises ConfigError."""
    try:
        name = _in_certificate((root / _CERTIFICATE).read_bytes())
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise unreadable(root / _CERTIFICATE, error, "Mend it, then look again.") from None
    return name.removesuffix(f"-{_id(root)}") if with_id else name


def _in_certificate(pem: bytes) -> str:
    """The node that the first certificate is for; empty where it is none, is cut off
    before that, or for nobody."""
    body = pem.partition(b"-----BEGIN CERTIFICATE-----")[2].partition(b"-----END")[0]
    try:
        der = base64.b64decode(body)
    except binascii.Error:
        return ""
    for part in der.split(_COMMON_NAME)[1:]:  # after it: the kind of text, its length, the text
        text = part[2:]
        if text.startswith(_NODE) and len(text) >= part[1]:
            text = text[: part[1]]
            return text.removeprefix(_NODE).decode(errors="replace")
    return ""


def _id(root: Path) -> str:
    try:
        return (root / _ID).read_text(errors="replace").strip()
    except OSError:
        return ""
