"""k3s's `registries.yaml`: where a registry's images really come from."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from hardtack.core.errors import ConfigError
from hardtack.images.connection import Tls

if TYPE_CHECKING:  # imported where a registry wants to know who asks
    from hardtack.images.auth import Credentials

log = logging.getLogger(__name__)

_HUB = "registry-1.docker.io"
_TABLES = frozenset({"mirrors", "configs", "auths"})  # k3s ignores any other


class Endpoint(NamedTuple):
    """One place to ask: `base` ends before the repository's name (`https://host/v2`)."""

    base: str
    mirror_of: str = ""
    tls: Tls = Tls()
    credentials: Credentials | None = None
    rewrites: tuple[tuple[str, str], ...] = ()

    @property
    def host(self) -> str:
        return urlsplit(self.base).netloc

    def repository(self, name: str) -> str:
        """`name` as this endpoint calls it: the first rewrite that matches is applied."""
        for pattern, replacement in self.rewrites:
            if re.search(pattern, name):
                return re.sub(pattern, replacement, name)
        return name


class Registries(NamedTuple):
    """Mirrors and settings by registry. `insecure`: hosts to talk to over http, or over TLS without
    checking when they have a certificate; `ca`: an authority for all hosts beside the system's."""

    mirrors: Mapping[str, Any] = MappingProxyType({})
    configs: Mapping[str, Any] = MappingProxyType({})
    insecure: frozenset[str] = frozenset()
    ca: Path | None = None

    @classmethod
    def read(
        cls, path: Path, *, insecure: frozenset[str] = frozenset(), ca: Path | None = None
    ) -> Registries:
        """k3s's file at `path`. Raises ConfigError."""
        import yaml  # late, all three: most pulls have no such file

        from hardtack.core.typos import meant
        from hardtack.core.yamlerrors import told

        try:
            document = yaml.safe_load(path.read_bytes()) or {}
            mirrors, configs = document.get("mirrors") or {}, document.get("configs") or {}
            _check(mirrors, configs)
            for key in document.keys() - _TABLES:
                hint = meant(str(key), _TABLES)
                log.warning("%s: %r means nothing there. %s", path, key, hint)
        except yaml.YAMLError as error:
            raise ConfigError(f"{told(error, str(path))}.") from error
        except (OSError, AttributeError, TypeError, ValueError, re.error) as error:
            raise ConfigError(f"{path} is not a registries.yaml of k3s: {error}.") from error
        return cls(mirrors, configs, insecure, ca)

    def endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        """Where to ask for images of `registry` (`docker.io`), in order, itself last."""
        mirror = self.mirrors.get(registry) or self.mirrors.get("*") or {}
        rewrites = tuple(
            (str(p), re.sub(r"\$(\d+|\{\d+\})", lambda m: rf"\g<{m[1].strip('{}')}>", str(r)))
            for p, r in (mirror.get("rewrite") or {}).items()
        )
        found = [
            self._endpoint(str(url), registry, rewrites) for url in mirror.get("endpoint") or ()
        ]
        host = _HUB if registry == "docker.io" else registry
        own = self._endpoint(f"{self._scheme(registry)}://{host}", "", ())
        if own.base not in {e.base for e in found}:
            found.append(own)
        return tuple(found)

    def _scheme(self, host: str) -> str:
        return "http" if host in self.insecure or local(host) else "https"

    def _endpoint(
        self, url: str, mirror_of: str, rewrites: tuple[tuple[str, str], ...]
    ) -> Endpoint:
        if "://" not in url:
            url = f"{self._scheme(url.split('/', maxsplit=1)[0])}://{url}"
        parts = urlsplit(url)
        base = url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/v2"
        config = self.configs.get(parts.netloc) or {}
        if parts.netloc == _HUB:
            config = config or self.configs.get("docker.io") or {}
        return Endpoint(
            base,
            mirror_of,
            self._tls(parts.netloc, config),
            _credentials(config, parts.netloc),
            rewrites,
        )

    def _tls(self, host: str, config: Mapping[str, Any]) -> Tls:
        tls = config.get("tls") or {}
        return Tls(
            Path(tls["ca_file"]) if tls.get("ca_file") else self.ca,
            Path(tls["cert_file"]) if tls.get("cert_file") else None,
            Path(tls["key_file"]) if tls.get("key_file") else None,
            tls.get("insecure_skip_verify") is True or host in self.insecure,
        )


def local(host: str) -> bool:
    """Whether `host[:port]` is this machine, which speaks http as for Docker and containerd."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or name.startswith("127.")


def _credentials(config: Mapping[str, Any], host: str) -> Credentials | None:
    auth = config.get("auth")
    if not auth:
        return None
    from hardtack.images.auth import Credentials, decode_auth

    if auth.get("identity_token"):
        return Credentials("<token>", "", str(auth["identity_token"]))
    if auth.get("auth"):
        return decode_auth(str(auth["auth"]), f"registries.yaml: configs[{host!r}]")
    if auth.get("username"):
        return Credentials(str(auth["username"]), str(auth.get("password", "")))
    return None


def _check(mirrors: Mapping[str, Any], configs: Mapping[str, Any]) -> None:
    for mirror in mirrors.values():
        for pattern in (mirror or {}).get("rewrite") or {}:
            re.compile(str(pattern))
        if not isinstance((mirror or {}).get("endpoint") or [], list):
            raise ValueError("`endpoint` is not a list")
    for config in configs.values():
        (config or {}).get("tls")
