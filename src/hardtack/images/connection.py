"""One HTTP connection to a registry, straight, over TLS or through a proxy, and a reply on it.

http.client rather than a library above it: the body of a reply is read into the caller's own
buffer, so that its bytes are copied once, out of the socket.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from hardtack.core.errors import ConfigError, SourceUnreachable, in_words

_REST = 64 << 10  # so much of a body is read to its end rather than lose the connection


@dataclass(frozen=True, slots=True)
class Tls:
    """How one registry's certificate is checked. `insecure`: not at all."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """What requests must have in common to share connections. `proxy`: its URL, or empty."""

    scheme: str
    host: str
    port: int | None
    tls: Tls
    proxy: str

    @classmethod
    def of(cls, url: SplitResult, tls: Tls) -> Route:
        return cls(url.scheme, url.hostname or "", url.port, tls, proxy_for(url))


class CertificateRefused(SourceUnreachable):
    """The other side's certificate doesn't hold: trying again won't help."""


class Response:
    """A reply, its body not read yet. `done` is told whether the connection can be used again."""

    def __init__(
        self, reply: HTTPResponse, host: str, done: Callable[[bool], None], sock: socket.socket
    ) -> None:
        self.status: int = reply.status
        self.headers: HTTPMessage = reply.headers
        self.sock = sock
        self._reply, self._host, self._done = reply, host, done

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as the body goes; 0 at its end. Raises SourceUnreachable."""
        try:
            return self._reply.readinto(buffer)
        except (OSError, HTTPException) as error:
            raise unreachable(self._host, error) from error

    def read(self, limit: int) -> bytes:
        """The body, at most `limit` bytes of it. Raises SourceUnreachable when it is cut off."""
        try:
            data = self._reply.read(limit)
        except (OSError, HTTPException) as error:
            raise unreachable(self._host, error) from error
        if len(data) < limit and self._reply.length:
            raise unreachable(self._host, EOFError(f"{self._reply.length} bytes are missing"))
        return data

    def close(self) -> None:
        """Give the connection back if the body has come to its end (or nearly), or end it."""
        reply = self._reply
        if reply.length is not None and 0 < reply.length <= _REST:
            try:
                reply.read()
            except (OSError, HTTPException):
                reply.will_close = True
        self._done(reply.isclosed() and not reply.will_close)
        reply.close()


def connect(
    route: Route, context: Callable[[], ssl.SSLContext], connecting: float, silent: float
) -> HTTPConnection:
    """An open connection. `connecting`: seconds for that; `silent`: seconds without a byte later.

    Raises OSError, HTTPException, ConfigError for a proxy that can't be used.
    """
    connection = _unconnected(route, context, connecting)
    connection.connect()
    connection.sock.settimeout(silent)
    return connection


def target(route: Route, url: str) -> str:
    """What to ask for on a connection of `route`: a proxy for plain HTTP wants the whole URL."""
    if route.proxy and route.scheme == "http":
        return url
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def proxy_headers(route: Route) -> dict[str, str]:
    """How to log in to the route's proxy."""
    where = urlsplit(route.proxy)
    if not where.username:
        return {}
    login = f"{unquote(where.username)}:{unquote(where.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}


def stale(connection: HTTPConnection) -> bool:
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
    return urllib.request.getproxies().get(url.scheme, "")


def _why(error: object) -> str:
    return in_words(error) if isinstance(error, BaseException) else str(error).rstrip(".")


def unreachable(host: str, error: object) -> SourceUnreachable:
    """What a failed attempt says about `host`."""
    return SourceUnreachable(
        f"Registry {host} can't be reached: {_why(error)}.",
        remedy="Is its name right, does it run, and may this machine reach it (network, proxy)?",
    )


def _unconnected(
    route: Route, context: Callable[[], ssl.SSLContext], timeout: float
) -> HTTPConnection:
    if not route.proxy:
        if route.scheme == "https":
            return HTTPSConnection(route.host, route.port, timeout=timeout, context=context())
        return HTTPConnection(route.host, route.port, timeout=timeout)
    where = urlsplit(route.proxy if "://" in route.proxy else f"http://{route.proxy}")
    if where.scheme != "http":
        raise ConfigError(
            f"The proxy {where.scheme}://{where.hostname} can't be used.",
            remedy="Name an http:// proxy in HTTPS_PROXY and HTTP_PROXY; TLS goes through it.",
        )
    if route.scheme == "http":
        return HTTPConnection(where.hostname or "", where.port or 80, timeout=timeout)
    connection = HTTPSConnection(
        where.hostname or "", where.port or 80, timeout=timeout, context=context()
    )
    connection.set_tunnel(route.host, route.port, proxy_headers(route))
    return connection
