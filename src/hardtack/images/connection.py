"""One HTTP connection to a registry, straight, over TLS or through a proxy, and a reply on it."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult

from hardtack.core.dial import dial
from hardtack.core.errors import SourceUnreachable, in_words
from hardtack.core.http1 import BadReply, Connection, Reply

if TYPE_CHECKING:
    import ssl  # late: a registry on loopback or behind a mirror needs none

    from hardtack.core.proxy import Proxy  # late as well: most need none

_REACHABLE = "Is its name right, does it run, and may this machine reach it (network, proxy)?"
_REST = 64 << 10  # so much of a body is read to its end rather than lose the connection

BROKEN = (OSError, BadReply)
"""What a connection that fails raises; a time-out and a TLS failure are among them."""


class Tls(NamedTuple):
    """How one registry's certificate is checked. `insecure`: not at all."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False


class Route(NamedTuple):
    """What requests must have in common to share connections. `proxy`: its URL, or empty."""

    scheme: str
    host: str
    port: int
    tls: Tls
    proxy: str

    @classmethod
    def of(cls, url: SplitResult, tls: Tls) -> Route:
        port = url.port or (443 if url.scheme == "https" else 80)
        return cls(url.scheme, url.hostname or "", port, tls, proxy_for(url))


class Hopeless(SourceUnreachable):
    """Trying again won't help: a certificate doesn't hold, or a proxy refuses."""


class Response:
    """A reply, its body not read yet. `done` is told whether the connection can be used again."""

    def __init__(
        self, reply: Reply, host: str, done: Callable[[bool], None], sock: socket.socket
    ) -> None:
        self.status: int = reply.status
        self.headers = reply.headers
        """By lower-case name."""
        self.sock = sock
        self._reply, self._host, self._done = reply, host, done

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the body goes; 0 at its end. Raises SourceUnreachable."""
        try:
            return self._reply.readinto(buffer)
        except BROKEN as error:
            raise unreachable(self._host, error) from error

    def read(self, limit: int) -> bytes:
        """The body, at most `limit` bytes of it. Raises SourceUnreachable when it is cut off."""
        try:
            return self._reply.read(limit)
        except BROKEN as error:
            raise unreachable(self._host, error) from error

    def close(self) -> None:
        """Give the connection back if the body has come to its end (or nearly), or end it."""
        reply = self._reply
        if reply.length is None or 0 < reply.length <= _REST:
            try:
                reply.read(_REST)
            except BROKEN:
                self._done(False)
                return
        self._done(reply.reusable)


def connect(
    route: Route, context: Callable[[], ssl.SSLContext], connecting: float, silent: float
) -> Connection:
    """An open connection. `connecting`: seconds for that; `silent`: seconds without a byte later.

    Raises OSError, ConfigError for a proxy that can't be used.
    """
    proxy = _proxy(route) if route.proxy else None
    tls = context if route.scheme == "https" else None
    sock = dial(route.host, route.port, timeout=connecting, proxy=proxy, tls=tls)
    sock.settimeout(silent)
    return Connection(sock)


def target(route: Route, url: SplitResult) -> str:
    """What to ask for on a connection of `route`: a proxy for plain HTTP wants the whole URL."""
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return f"http://{host_header(url)}{path}" if _forwarded(route) else path


def host_header(url: SplitResult) -> str:
    """`host[:port]` of `url`, without a login."""
    return url.netloc.rpartition("@")[2]


def proxy_headers(route: Route) -> dict[str, str]:
    """How to log in to the route's proxy with a request that it forwards."""
    return _proxy(route).headers if _forwarded(route) else {}


def _forwarded(route: Route) -> bool:
    return route.scheme == "http" and route.proxy != "" and _proxy(route).forwards


def _proxy(route: Route) -> Proxy:
    from hardtack.core.proxy import Proxy

    return Proxy.parse(route.proxy)


def stale(connection: Connection) -> bool:
    """Whether an idle connection was ended by the other side, or says what nobody asked for."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def proxy_for(url: SplitResult) -> str:
    """The proxy that the environment names for `url`; empty for none."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    import urllib.request  # late: most boxes have no proxy, and each start would pay for it

    if urllib.request.proxy_bypass(url.hostname or ""):
        return ""
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all", "")


def unreachable(host: str, error: object) -> SourceUnreachable:
    """What a failed attempt says about `host`."""
    from hardtack.core.proxy import ProxyError

    why = in_words(error) if isinstance(error, BaseException) else str(error).rstrip(".")
    kind, remedy = SourceUnreachable, _REACHABLE
    if isinstance(error, ProxyError):
        kind, remedy = Hopeless if error.lasting else SourceUnreachable, error.remedy
    return kind(f"Registry {host} can't be reached: {why}.", remedy=remedy)
