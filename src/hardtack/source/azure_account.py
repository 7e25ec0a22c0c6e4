"""An Azure storage account: whom its environment names, and the signature of its key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hardtack.core.errors import AccessDenied, ConfigError
from hardtack.source.dialect import Parameters
from hardtack.source.http import Host

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
_NAMES = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
_KEYS = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY")
_SAS = "AZURE_STORAGE_SAS_TOKEN"
_SUFFIX = "core.windows.net"
_NAME = re.compile("[a-z0-9]{3,24}")
_CONTAINER = re.compile("[a-z0-9](?:-?[a-z0-9]){2,62}")
_SYSTEM_CONTAINERS = {"$root", "$web", "$logs"}
_EMULATOR = "devstoreaccount1"
# the emulator's key is the same everywhere, and documented
_EMULATOR_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_SIGNED = (
    "Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type",
    "Date", "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range",
)  # fmt: skip


@dataclass(frozen=True)
class Account:
    """`key` in base64, or else `sas`, a signed query; empty where there is none.

    `origin` says which variable gave them, `endpoint` is the URL of the blob service.
    """

    name: str
    endpoint: str
    key: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    origin: str = ""

    def check(self) -> None:
        """That there are credentials, in a form that can be sent. Raises AccessDenied."""
        if not self.key and not self.sas:
            raise AccessDenied(
                "No credentials were found: the environment names neither key nor SAS token of "
                f"{self.name or 'the account'}, and nothing else is asked.",
                remedy=f"Set {_CONNECTION}, {_KEYS[0]} or {_SAS}, or ask for unsigned requests if "
                "the container is public.",
            )
        if self.key and not self.name:
            raise AccessDenied(
                f"{self.origin} gives a key, but nothing names the account.",
                remedy=f"Set {_NAMES[0]}.",
            )
        if not (self.sas.isascii() and self.sas.isprintable() and " " not in self.sas):
            raise AccessDenied(
                f"{self.origin}: the SAS token holds characters that none has.",
                remedy="Look for blanks and line ends in it.",
            )
        if self.key:
            self.secret()

    def secret(self) -> bytes:
        """The key. Raises AccessDenied, without quoting it."""
        try:
            return base64.b64decode(self.key, validate=True)
        except (binascii.Error, ValueError):
            raise AccessDenied(f"{self.origin}: the account's key is not base64.") from None


def account_of(env: Mapping[str, str], endpoint_url: str | None) -> Account:
    """The account that a connection string, or else variables of their own, name.

    Raises ConfigError where nothing says whom to ask, or no account can have the name that is said.
    """
    text = env.get(_CONNECTION)
    if text:
        said = _pairs(text)
        protocol = said.get("defaultendpointsprotocol", "https")
        name = said.get("accountname", "")
        _check_name(name, _CONNECTION)
        suffix = said.get("endpointsuffix", _SUFFIX)
        own = said.get("blobendpoint") or (f"{protocol}://{name}.blob.{suffix}" if name else "")
        key, sas = said.get("accountkey", ""), said.get("sharedaccesssignature", "")
        origin = _CONNECTION
    else:
        variable, name = _first(env, _NAMES)
        _check_name(name, variable)
        own = f"https://{name}.blob.{_SUFFIX}" if name else ""
        origin, key = _first(env, _KEYS)
        sas = "" if key else env.get(_SAS, "")
        origin = origin or _SAS
    endpoint = endpoint_url or own
    if not endpoint:
        raise ConfigError(
            "az:// names a container, and nothing names its account.",
            remedy=f"Set {_NAMES[0]} or {_CONNECTION}, or give --endpoint-url.",
        )
    host = Host.of(endpoint)
    name = name or (host.name.partition(".")[0] if ".blob." in host.name else "")
    return Account(name, host.url, key, "" if key else sas.lstrip("?"), origin)


def shared_key(
    account: Account, method: str, path: str, query: Parameters, headers: Mapping[str, str]
) -> str:
    """The `Authorization` header; `path` encoded as it is sent, `query` is not. Pure."""
    own = sorted((n.lower(), v.strip()) for n, v in headers.items() if n.lower()[:5] == "x-ms-")
    lines = [method, *(headers.get(name, "") for name in _SIGNED)]
    lines += [f"{name}:{value}" for name, value in own]
    lines += [f"/{account.name}{path}"]
    lines += [f"{name.lower()}:{value}" for name, value in sorted(query)]
    digest = hmac.new(account.secret(), "\n".join(lines).encode(), hashlib.sha256).digest()
    return f"SharedKey {account.name}:{base64.b64encode(digest).decode()}"


def check_container(name: str) -> None:
    """That a container can have this name. Raises ConfigError."""
    fits = _CONTAINER.fullmatch(name) and len(name) <= 63
    if not fits and name not in _SYSTEM_CONTAINERS:
        raise ConfigError(
            f"{name!r} can't be the name of a container.",
            remedy="It has 3 to 63 small letters, digits and single hyphens, the first and the "
            "last no hyphen.",
        )


def _check_name(name: str, origin: str) -> None:
    if name and not _NAME.fullmatch(name):
        raise ConfigError(
            f"{origin}: {name!r} can't be the name of a storage account.",
            remedy="It has 3 to 24 small letters and digits, and is the first part of its host's "
            f"name: NAME.blob.{_SUFFIX}.",
        )


def _pairs(text: str) -> dict[str, str]:
    """A connection string's parts, their names in small letters.

    `UseDevelopmentStorage=true` stands for the emulator's. Raises ConfigError, without quoting it.
    """
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    if not all(separator for _, separator, _ in parts):
        raise ConfigError(
            f"{_CONNECTION} is no connection string.", remedy="Copy it anew: Name=value;Name=value."
        )
    said = {name.strip().lower(): value.strip() for name, _, value in parts}
    if said.get("usedevelopmentstorage", "").lower() != "true":
        return said
    host = said.get("developmentstorageproxyuri", "http://127.0.0.1").rstrip("/")
    return {
        "accountname": _EMULATOR,
        "accountkey": _EMULATOR_KEY,
        "blobendpoint": f"{host}:10000/{_EMULATOR}",
    }


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str]:
    """The first of these variables that is set, and its value."""
    return next(((name, env[name]) for name in names if env.get(name)), ("", ""))
