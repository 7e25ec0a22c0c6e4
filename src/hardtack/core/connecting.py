"""One step each of a connection: a host's name, the socket, TLS on it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from hardtack.core.hosts import ascii_name

if TYPE_CHECKING:
    import ssl

    Context = Callable[[], ssl.SSLContext]


def asked_for(host: str) -> str:
    """`host` in ASCII. Raises OSError for what is no host's name."""
    try:
        return ascii_name(host)
    except ValueError as error:
        raise OSError(f"{host!r} is no host: {error}") from error


def acknowledge_at_once(sock: socket.socket) -> None:
    """To be said of a connection each time that a request was sent. A server that keeps a reply's
    body back until its head is acknowledged (Nagle's algorithm) would wait for it 40 ms, each time;
    the kernel goes back to that by itself."""
    if sock.family != socket.AF_UNIX:  # between threads of ours
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def connected(host: str, port: int, timeout: float) -> socket.socket:
    """A connection to `host`, a name in ASCII or an address. Raises OSError."""
    name = host.encode("ascii")  # which for a str is done by IDNA's tables, whatever it holds
    sock = socket.create_connection((name, port), timeout)  # type: ignore[arg-type]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def secured(sock: socket.socket, host: str, tls: Context | None) -> socket.socket:
    """`sock` with TLS on it, where `tls` says how; closed when that fails. Raises OSError."""
    if tls is None:
        return sock
    try:
        return tls().wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
