"""Proxies on loopback: by CONNECT, with or without TLS of their own, and by SOCKS 5."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ProxyServer(socketserver.ThreadingTCPServer):
    """`asked`: each way that was asked for: the head of a CONNECT, or `SOCKS host:port`; `logins`:
    user and password of each that had them. `leads_to`: a port of this machine, for every host."""

    daemon_threads = True

    def __init__(
        self, ask: Callable[[ProxyServer, socket.socket], tuple[str, int] | None],
        leads_to: int | None, tls: ssl.SSLContext | None,
    ) -> None:  # fmt: skip
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ask, self.leads_to, self.tls = ask, leads_to, tls
        self.asked: list[str] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.port: int = self.server_address[1]
        self.connections = 0
        self.refuses = False
        """Whether no way is given."""
        self.wants_login = False


class _Handler(socketserver.BaseRequestHandler):
    server: ProxyServer

    def handle(self) -> None:
        near: socket.socket = self.request
        self.server.connections += 1
        with contextlib.suppress(OSError):  # the client went away
            if self.server.tls is not None:
                near = self.server.tls.wrap_socket(near, server_side=True)
            with near:
                way = self.server.ask(self.server, near)
                if way is None:
                    return
                port = self.server.leads_to
                with socket.create_connection(("127.0.0.1", port) if port else way) as far:
                    _carry(near, far)


def _carry(near: socket.socket, far: socket.socket) -> None:
    while True:
        waiting = near.pending() if isinstance(near, ssl.SSLSocket) else 0
        for end in [near] if waiting else select.select([near, far], [], [])[0]:
            data = end.recv(1 << 16)
            if not data:
                return
            (far if end is near else near).sendall(data)


def connect(server: ProxyServer, near: socket.socket) -> tuple[str, int] | None:
    """A proxy of HTTP."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += near.recv(1)
    server.asked.append(head.decode())
    if server.refuses:
        near.sendall(b"HTTP/1.1 403 not there\r\n\r\n")
        return None
    near.sendall(b"HTTP/1.1 200 go on\r\nvia: test\r\n\r\n")
    host, _, port = head.split()[1].decode().rpartition(":")
    return host, int(port)


def socks(server: ProxyServer, near: socket.socket) -> tuple[str, int] | None:
    """A proxy of SOCKS 5 (RFC 1928, RFC 1929)."""
    take = near.makefile("rb").read
    offered = take(take(2)[1])
    method = 2 if server.wants_login else 0
    if method not in offered:
        near.sendall(b"\x05\xff")
        return None
    near.sendall(bytes([5, method]))
    if method:
        take(1)
        user = take(take(1)[0])
        password = take(take(1)[0])
        server.logins.append((user, password))
        near.sendall(b"\x01" + (b"\x01" if password == b"wrong" else b"\x00"))
        if password == b"wrong":
            return None
    kind = take(4)[3]
    host = {
        1: lambda: socket.inet_ntop(socket.AF_INET, take(4)),
        3: lambda: take(take(1)[0]).decode(),
        4: lambda: socket.inet_ntop(socket.AF_INET6, take(16)),
    }[kind]()
    (port,) = struct.unpack(">H", take(2))
    server.asked.append(f"SOCKS {kind} {host}:{port}")
    # the address that it is connected from, of another kind each time
    bound = b"\x03\x05where" if kind == 1 else b"\x01\0\0\0\0"
    near.sendall(bytes([5, 2 if server.refuses else 0, 0]) + bound + b"\0\0")
    return None if server.refuses else (host, port)


@contextmanager
def proxy(
    ask: Callable[[ProxyServer, socket.socket], tuple[str, int] | None] = connect,
    *, leads_to: int | None = None, tls: ssl.SSLContext | None = None,
) -> Iterator[ProxyServer]:  # fmt: skip
    """A running proxy of the kind that `ask` is."""
    with ProxyServer(ask, leads_to, tls) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
