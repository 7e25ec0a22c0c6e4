"""The ways to the cloud: straight, or through the proxy that the environment names for it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from hardtack.core.dial import dial
from hardtack.core.errors import ConfigError
from hardtack.core.proxy import Proxy
from hardtack.core.trust import trusting


def connections(url: str, ca: Path | None, most: int) -> urllib3.PoolManager:
    """Connections to `url`'s host, of which `most` are kept. Raises ConfigError for a proxy or a
    file of authorities that can't be used."""
    try:
        context = trusting(file=str(ca) if ca else None)
    except OSError as error:
        raise ConfigError(
            f"--upstream-ca {ca} can't be used: {error.strerror or error}.",
            remedy="Name a file of certificates in PEM.",
        ) from None
    proxy = _proxy(url)
    if proxy is None:
        return urllib3.PoolManager(ssl_context=context, maxsize=most)
    if proxy.forwards and url.startswith("http:"):  # it takes the request itself
        return urllib3.ProxyManager(
            str(proxy), ssl_context=context, proxy_ssl_context=trusting(), maxsize=most,
            proxy_headers=proxy.headers,
        )  # fmt: skip
    found = urllib3.PoolManager(maxsize=most)
    found.pool_classes_by_scheme = _through(proxy, context)
    return found


def _proxy(url: str) -> Proxy | None:
    parts = urlsplit(url)
    proxies = getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass(parts.netloc):
        return None
    return Proxy.parse(named)


def _through(proxy: Proxy, context: ssl.SSLContext) -> dict[str, type[HTTPConnectionPool]]:
    """Classes of urllib3 whose connections take the way through the proxy."""

    def connect(self: HTTPConnection, tls: Callable[[], ssl.SSLContext] | None) -> None:
        assert isinstance(self.timeout, int | float)  # each request of ours has one
        try:
            self.sock = dial(self.host, self.port, timeout=self.timeout, proxy=proxy, tls=tls)
        except ssl.SSLError:
            raise
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error

    class Plain(HTTPConnection):
        def connect(self) -> None:
            connect(self, None)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            connect(self, lambda: context)
            self.is_verified = True

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
