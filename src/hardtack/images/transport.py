"""HTTP to registries: idle connections, TLS, redirects. One attempt; callers decide on retries."""

from __future__ import annotations

import logging
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from hardtack.core.errors import ConfigError, CorruptReply, SourceUnreachable
from hardtack.core.hosts import ascii_name
from hardtack.core.units import format_duration
from hardtack.images.attempts import Stop
from hardtack.images.connection import (
    BROKEN,
    Hopeless,
    Response,
    Route,
    Tls,
    connect,
    host_header,
    proxy_headers,
    stale,
    target,
    unreachable,
)

if TYPE_CHECKING:
    import ssl

    from hardtack.core.http1 import Connection

log = logging.getLogger(__name__)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
TOLD_AFTER = 4.0
"""Seconds without a reply before a line says what is waited for."""


class Transport:
    """Connections, kept for the next request of the same route. Thread-safe.

    `timeout`: seconds without a byte before an attempt counts as failed.
    """

    def __init__(self, *, timeout: float = 30.0) -> None:
        self._timeout = timeout
        self._idle: dict[Route, list[Connection]] = {}
        self._contexts: dict[Tls, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._idle)  # for who forgets to

    def send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        tls: Tls,
        body: bytes | None = None,
        stop: Stop | None = None,
    ) -> Response:
        """The response, its body not read; redirects followed, and never with `Authorization` to
        another host. `stop`: when to wait for none any more.

        Raises SourceUnreachable, CorruptReply for endless redirects."""
        home = urlsplit(url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send_one(method, url, headers, tls, body, stop or Stop())
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or location is None:
                return response
            response.close()
            url = urljoin(url, location)
            there = urlsplit(url)
            if there.scheme not in ("http", "https"):
                raise CorruptReply(f"{home.netloc} redirects to a {there.scheme!r} address.")
            if (there.scheme, there.netloc) != (home.scheme, home.netloc):
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        raise CorruptReply(f"{home.netloc} redirects more than {_MAX_REDIRECTS} times.")

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            _close(self._idle)

    def _send_one(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        tls: Tls,
        body: bytes | None,
        stop: Stop,
    ) -> Response:
        parts = _parsed(url)
        if tls.insecure:
            log.warning("%s %s: TLS certificate not verified (insecure)", method, parts.netloc)
        route = Route.of(parts, tls)
        headers = {"Host": host_header(parts), **headers, **proxy_headers(route)}
        connection = None
        try:
            connection = self._connection(route)
            sock = connection.sock
            with stop.ends(sock):
                connection.send(method, target(route, parts), headers, body)
                self._await(connection, parts.netloc)
                reply = connection.reply(method)
        except TimeoutError as error:
            if connection is None:
                raise unreachable(parts.netloc, error) from error
            raise SourceUnreachable(
                f"{parts.netloc} took the request and said nothing "
                f"for {format_duration(self._timeout)}.",
                remedy="Does a registry listen there, on that port, and is it well? Its log says.",
            ) from error
        except BROKEN as error:
            raise _failed(parts.netloc, error) from error
        else:
            sent, connection = connection, None
            return Response(reply, parts.netloc, partial(self._give_back, route, sent), sock)
        finally:
            if connection is not None:
                connection.close()

    def _await(self, connection: Connection, host: str) -> None:
        """A reply's first bytes; a line tells of the wait for them. Raises OSError, BadReply."""
        first = min(TOLD_AFTER, self._timeout)
        if not connection.silent(first):
            return
        left = self._timeout - first
        if left > 0:
            more = format_duration(left)
            log.info("%s took the request and says nothing; %s more", host, more)
            if not connection.silent(left):
                return
        raise TimeoutError

    def _connection(self, route: Route) -> Connection:
        while (connection := self._take(route)) is not None:
            if not stale(connection):
                return connection
            connection.close()
        return connect(
            route, partial(self._context, route.tls), min(self._timeout, 10.0), self._timeout
        )

    def _take(self, route: Route) -> Connection | None:
        with self._lock:
            idle = self._idle.get(route)
            return idle.pop() if idle else None

    def _give_back(self, route: Route, connection: Connection, reusable: bool) -> None:
        if not reusable:
            connection.close()
            return
        with self._lock:
            self._idle.setdefault(route, []).append(connection)

    def _context(self, tls: Tls) -> ssl.SSLContext:
        with self._lock:
            if tls not in self._contexts:
                self._contexts[tls] = _context(tls)
            return self._contexts[tls]


def _close(idle: dict[Route, list[Connection]]) -> None:
    while idle:
        for connection in idle.popitem()[1]:
            connection.close()


def _parsed(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        _ = parts.port
        if ascii_name(parts.hostname or "") != parts.hostname:
            raise ValueError("write its name in ASCII, which begins with xn--")
    except ValueError as error:
        raise CorruptReply(f"{parts.netloc} is no address: {error}.") from error
    return parts


def _failed(host: str, error: Exception) -> SourceUnreachable:
    """What a failed attempt means; a certificate that was refused is refused again."""
    import ssl

    if not isinstance(error, ssl.SSLError):
        return unreachable(host, error)
    refused = isinstance(error, ssl.SSLCertVerificationError)
    return (Hopeless if refused else SourceUnreachable)(
        f"{host}: TLS failed: {error}.",
        remedy="Name the registry's CA (--registry-ca, or tls.ca_file in registries.yaml).",
    )


def _context(tls: Tls) -> ssl.SSLContext:
    import ssl  # late, both: a registry on loopback needs none

    from hardtack.core.trust import trusting

    try:
        context = trusting()
        if tls.ca is not None:
            context.load_verify_locations(tls.ca)
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"The TLS files {tls.ca or tls.certificate} can't be used: {error}."
        ) from error
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
