"""Connecting to a host, straight or through a proxy: http://, https://, socks5:// or socks5h://.

Behind each the connection is a socket like any other, with or without TLS on it. TLS, and what
leads through proxies, are imported when they are used.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from hardtack.core.hosts import ascii_name

if TYPE_CHECKING:
    import ssl

    from hardtack.core.proxy import Proxy

    Context = Callable[[], ssl.SSLContext]


def dial(
    host: str, port: int, *, timeout: float, proxy: Proxy | None = None, tls: Context | None = None
) -> socket.socket:
    """A connection to `host`, over TLS where `tls` says how; without TLS, and through a proxy that
    `forwards`, to the proxy. The proxy's own certificate is checked by the system's authorities.

    `timeout`: seconds for each step, of which the way through a proxy is one, and what the socket
    is left with. Raises OSError; of it ProxyError where the proxy is at fault.
    """
    if proxy is None:
        return secured(connected(asked_for(host), port, timeout), host, tls)
    from hardtack.core.tunnel import reached

    sock = reached(proxy, host, port, seconds=timeout, whole=tls is None and proxy.forwards)
    sock.settimeout(timeout)
    return secured(sock, host, tls)


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
