"""Connecting to a host, straight or through a proxy: http://, https://, socks5:// or socks5h://.

Behind each the connection is a socket like any other, with or without TLS on it. TLS, and what
leads through proxies, are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardtack.core.connecting import asked_for, connected, secured

if TYPE_CHECKING:
    import socket

    from hardtack.core.connecting import Context
    from hardtack.core.proxy import Proxy


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
