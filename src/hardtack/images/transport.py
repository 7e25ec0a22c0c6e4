"""HTTP to registries: pools, TLS, proxies, redirects. One attempt; who calls decides on retries."""

from __future__ import annotations

import logging
import ssl
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, MaxRetryError, SSLError

from hardtack.core.errors import ConfigError, CorruptReply, SourceUnreachable

log = logging.getLogger(__name__)

urllib3.disable_warnings(InsecureRequestWarning)  # each such request is logged below, by its host

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class Tls:
    """How one registry's certificate is checked. `insecure`: not at all."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False


class Transport:
    """Connection pools by TLS settings and proxy. Thread-safe.

    `timeout`: seconds without a byte before an attempt counts as failed.
    """

    def __init__(self, *, timeout: float = 30.0, connections: int = 16) -> None:
        self._timeout = urllib3.Timeout(connect=min(timeout, 10.0), read=timeout)
        self._connections = connections
        self._pools: dict[tuple[Tls, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def send(
        self, method: str, url: str, headers: dict[str, str], tls: Tls, body: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        """The response, its body not read; redirects followed, and never with `Authorization` to
        another host. Raises SourceUnreachable, CorruptReply for endless redirects."""
        home = urlsplit(url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send_one(method, url, headers, tls, body)
            target = response.headers.get("Location")
            if response.status not in _REDIRECTS or target is None:
                return response
            response.drain_conn()
            response.release_conn()
            url = urljoin(url, target)
            there = urlsplit(url)
            if there.scheme not in ("http", "https"):
                raise CorruptReply(f"{home.netloc} redirects to a {there.scheme!r} address.")
            if (there.scheme, there.netloc) != (home.scheme, home.netloc):
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        raise CorruptReply(f"{home.netloc} redirects more than {_MAX_REDIRECTS} times.")

    def close(self) -> None:
        """Give back all connections."""
        with self._lock:
            for pool in self._pools.values():
                pool.clear()

    def _send_one(
        self, method: str, url: str, headers: dict[str, str], tls: Tls, body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        host = urlsplit(url).netloc
        if tls.insecure:
            log.warning("%s %s: TLS certificate not verified (insecure)", method, host)
        try:
            return self._pool(tls, url).request(
                method, url, headers=headers, body=body, redirect=False, retries=False,
                preload_content=False, decode_content=False,
            )  # fmt: skip
        except (SSLError, ssl.SSLError) as error:
            raise tls_failed(host, error) from error
        except MaxRetryError as error:
            raise unreachable(host, error.reason or error) from error
        except HTTPError as error:
            raise unreachable(host, error) from error

    def _pool(self, tls: Tls, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = None
        if not urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = urllib.request.getproxies().get(parts.scheme)
        with self._lock:
            if (tls, proxy) not in self._pools:
                self._pools[tls, proxy] = self._new_pool(tls, proxy)
            return self._pools[tls, proxy]

    def _new_pool(self, tls: Tls, proxy: str | None) -> urllib3.PoolManager:
        context = _context(tls)
        if proxy is None:
            return urllib3.PoolManager(
                ssl_context=context, timeout=self._timeout, maxsize=self._connections
            )
        where = urlsplit(proxy)
        headers = None
        if where.username:
            headers = urllib3.make_headers(
                proxy_basic_auth=f"{where.username}:{where.password or ''}"
            )
        return urllib3.ProxyManager(
            proxy,
            proxy_headers=headers,
            ssl_context=context,
            timeout=self._timeout,
            maxsize=self._connections,
        )


def tls_failed(host: str, error: object) -> SourceUnreachable:
    return SourceUnreachable(
        f"{host}: TLS failed: {error}.",
        remedy="Name the registry's CA (--ca, or tls.ca_file in registries.yaml).",
    )


def unreachable(host: str, error: object) -> SourceUnreachable:
    return SourceUnreachable(
        f"Registry {host} can't be reached: {type(error).__name__}: {error}.".replace("..", ".")
    )


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
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
