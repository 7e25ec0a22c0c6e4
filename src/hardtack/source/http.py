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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from hardtack.core.connecting import acknowledge_at_once
from hardtack.core.dial import dial
from hardtack.core.errors import ConfigError
from hardtack.core.hosts import ascii_name
from hardtack.core.proxy import Proxy
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
        """Of a URL, an international name by IDNA; raises ConfigError."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # whose text may quote a password
            usable = False
        if not usable:
            raise _unusable(url, "Write http(s)://host:port.")
        path = parts.path.rstrip("/")
        if not (path.isascii() and path.isprintable() and " " not in path):
            raise _unusable(url, "Write a blank in its path as %20, ä as %C3%A4.")
        try:
            name = ascii_name(str(parts.hostname))
        except ValueError as error:
            raise _unusable(url, f"Write http(s)://host:port; {error}.") from error
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, name, port, path)

    @property
    def header(self) -> str:
        """As in the `Host` header."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        standard = self.port == (443 if self.scheme == "https" else 80)
        return name if standard else f"{name}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.header}{self.base}"


def _unusable(url: str, remedy: str) -> ConfigError:
    shown = url.rpartition("@")[2]  # without a login
    return ConfigError(f"{shown!r} is not a usable endpoint URL.", remedy=remedy)


def tls_context(ca_bundle: str | None, *, insecure: bool) -> ssl.SSLContext:
    """How a server's certificate is checked: against `ca_bundle` or the system's authorities."""
    try:
        context = trusting(file=ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"The CA bundle {ca_bundle} can't be used: {error.strerror or error}.",
            remedy="Give a PEM file.",
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

    def __init__(self, pool: Pool, connection: _Connection, reused: bool) -> None:
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
        self._proxy = Proxy.parse(proxy) if proxy else None
        self._forwarded = host.scheme == "http" and self._proxy is not None and self._proxy.forwards
        self._size, self._timeout, self._tls = size, timeout, tls
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = False

    def request(self, method: str, target: str, headers: Mapping[str, str]) -> Reply:
        """Send and return the reply's head. Raises one of BROKEN.

        A kept connection that the server has closed meanwhile is replaced by a new one.
        """
        while True:
            connection, reused = self._get()
            try:
                connection.request(method, self._target(target), headers=self._headers(headers))
                acknowledge_at_once(connection.sock)
                return Reply(self, connection, reused)
            except (ConnectionError, http.client.BadStatusLine):
                self.put(connection, keep=False)
                if not reused:
                    raise
            except BaseException:
                self.put(connection, keep=False)
                raise

    def put(self, connection: _Connection, *, keep: bool) -> None:
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

    def _get(self) -> tuple[_Connection, bool]:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the source was closed")
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else self._new()
            self._busy.add(connection)
        return connection, reused

    def _new(self) -> _Connection:
        return _Connection(self.host, self._timeout, self._proxy, self._tls)

    def _target(self, target: str) -> str:
        return f"http://{self.host.header}{target}" if self._forwarded else target

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        extra = self._proxy.headers if self._proxy is not None and self._forwarded else {}
        return {**headers, **extra}


class _Connection(http.client.HTTPConnection):
    """To `host`, through `proxy` if there is one; opened by the first request."""

    def __init__(
        self, host: Host, seconds: float, proxy: Proxy | None, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(host.name, host.port)
        self._to, self._seconds, self._through, self._tls = host, seconds, proxy, tls

    def connect(self) -> None:
        to = self._to
        secure = self._context if to.scheme == "https" else None
        self.sock = dial(to.name, to.port, timeout=self._seconds, proxy=self._through, tls=secure)

    def _context(self) -> ssl.SSLContext:
        return self._tls or trusting()


def _shut(connection: _Connection) -> None:
    """Wake whoever receives on `connection`."""
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already
