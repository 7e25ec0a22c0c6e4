"""Connections to one HTTP host, kept and used again: what the S3 client needs and no more.

The standard library's `http.client` reads a body straight into the caller's buffer by a public
call; the libraries above it copy.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from hardtack.core.errors import ConfigError
from hardtack.core.trust import trusting

_PART = 256 << 10

BROKEN = (OSError, http.client.HTTPException)
"""What a broken connection raises; a time-out and a TLS failure are among them."""


@dataclass(frozen=True)
class Host:
    """One end point: `scheme` is http or https, `base` a path before every target."""

    scheme: str
    name: str
    port: int
    base: str = ""

    @classmethod
    def of(cls, url: str) -> Host:
        """Of a URL; raises ConfigError."""
        parts = _split(url, "endpoint URL")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, str(parts.hostname), port, parts.path.rstrip("/"))

    @property
    def header(self) -> str:
        """As in the `Host` header."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        standard = self.port == (443 if self.scheme == "https" else 80)
        return name if standard else f"{name}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.header}{self.base}"


def _split(url: str, what: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = url.rpartition("@")[2]
        raise ConfigError(f"{shown!r} is not a usable {what}.", remedy="Write http(s)://host:port.")
    return parts


def tls_context(ca_bundle: str | None, *, insecure: bool) -> ssl.SSLContext:
    """How a server's certificate is checked: against `ca_bundle` or the system's authorities."""
    try:
        context = trusting(file=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"The CA bundle {ca_bundle} can't be used: {error}.", remedy="Give a PEM file."
        ) from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def proxy_for(host: Host, explicit: str | None) -> str | None:
    """The proxy's URL: `explicit`, else HTTPS_PROXY or HTTP_PROXY unless NO_PROXY names the host.

    An empty `explicit` means none.
    """
    if explicit is not None:
        return explicit or None
    proxies = getproxies()
    if proxy_bypass(f"{host.name}:{host.port}", proxies):
        return None
    return proxies.get(host.scheme) or proxies.get("all")


class Reply:
    """An answer whose body is still on its way; finished by `release` or `close`."""

    def __init__(self, pool: Pool, connection: http.client.HTTPConnection, reused: bool) -> None:
        self._pool, self._connection = pool, connection
        self._response = connection.getresponse()
        self.reused = reused
        self.status = self._response.status
        self.headers = {name.lower(): value for name, value in self._response.getheaders()}
        self._keep = not self._response.will_close

    def readinto(self, buffer: memoryview) -> int:
        """What one receive gives; for bodies of a known length, which the caller counts."""
        file = self._response.fp
        # None once http.client has seen the end of the body
        return 0 if file is None else file.readinto1(buffer)

    def read(self, limit: int, fast_enough: Callable[[float, int], bool]) -> bytes:
        """The body, cut off somewhere past `limit` bytes; the connection is given back.

        `fast_enough` is told the seconds and bytes of each receive. Raises one of BROKEN.
        """
        data = bytearray()
        try:
            while len(data) <= limit:
                before = time.monotonic()
                part = self._response.read1(_PART)
                data += part
                if not part:
                    break
                if not fast_enough(time.monotonic() - before, len(part)):
                    raise TimeoutError("the reply comes too slowly")
            missing = self._response.length
            if missing and len(data) <= limit:
                raise http.client.IncompleteRead(b"", missing)
        except BaseException:
            self.close()
            raise
        if len(data) > limit:
            self.close()
        else:
            self.release()
        return bytes(data)

    def release(self) -> None:
        """The body was read to its end."""
        self._response.close()
        self._pool.put(self._connection, keep=self._keep)

    def close(self) -> None:
        """Drop the connection with what is left of the body."""
        self._response.close()
        self._pool.put(self._connection, keep=False)


class Pool:
    """Connections to `host`, opened as needed; at most `size` idle ones are kept."""

    def __init__(
        self,
        host: Host,
        *,
        size: int,
        timeout: float,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.proxy = Host.of(proxy) if proxy else None
        self._proxy_headers = _proxy_authorization(proxy) if proxy else {}
        self._size, self._timeout, self._tls = size, timeout, tls
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._closed = False
        if self.proxy is not None and self.proxy.scheme != "http":
            raise ConfigError(
                f"The proxy {self.proxy.url} is reached by TLS, which isn't supported.",
                remedy="Give an http:// proxy; TLS to the source passes through it untouched.",
            )

    def request(self, method: str, target: str, headers: Mapping[str, str]) -> Reply:
        """Send and return the reply's head. Raises one of BROKEN.

        A kept connection that the server has closed meanwhile is replaced by a new one.
        """
        while True:
            connection, reused = self._get()
            try:
                connection.request(method, self._target(target), headers=self._headers(headers))
                return Reply(self, connection, reused)
            except (ConnectionError, http.client.BadStatusLine):
                self.put(connection, keep=False)
                if not reused:
                    raise
            except BaseException:
                self.put(connection, keep=False)
                raise

    def put(self, connection: http.client.HTTPConnection, *, keep: bool) -> None:
        """Take `connection` back."""
        with self._lock:
            self._busy.discard(connection)
            keep = keep and not self._closed and len(self._idle) < self._size
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def close(self) -> None:
        """Close all; receives under way end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for connection in idle:
            connection.close()
        for connection in busy:
            _shut(connection)

    def _get(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the source was closed")
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else self._new()
            self._busy.add(connection)
        return connection, reused

    def _new(self) -> http.client.HTTPConnection:
        through = self.proxy or self.host
        connection: http.client.HTTPConnection
        if self.host.scheme == "https":
            connection = http.client.HTTPSConnection(
                through.name, through.port, timeout=self._timeout, context=self._tls
            )
            if self.proxy is not None:
                connection.set_tunnel(self.host.name, self.host.port, self._proxy_headers)
        else:
            connection = http.client.HTTPConnection(
                through.name, through.port, timeout=self._timeout
            )
        return connection

    def _target(self, target: str) -> str:
        plain_proxy = self.proxy is not None and self.host.scheme == "http"
        return f"http://{self.host.header}{target}" if plain_proxy else target

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers, **(self._proxy_headers if self.host.scheme == "http" else {})}


def _shut(connection: http.client.HTTPConnection) -> None:
    """Wake whoever receives on `connection`."""
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already


def _proxy_authorization(url: str) -> dict[str, str]:
    parts = _split(url, "proxy URL")
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"}
