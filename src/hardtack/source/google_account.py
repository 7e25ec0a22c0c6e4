"""A Google service account: its file, and the tokens that it signs for itself.

Cloud Storage takes a token that the account's own key signed, so that no token service is asked.
"""

from __future__ import annotations

import importlib.util
import json
import os
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import AccessDenied, ConfigError

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_LIFETIME = 3600.0
_RENEW_AHEAD = 300.0


@dataclass(frozen=True)
class Token:
    """A bearer token of `account` (an e-mail address), good until `expires`, seconds since 1970."""

    account: str
    text: str = field(repr=False)
    expires: float
    file: object


class ServiceAccount:
    """The account whose file GOOGLE_APPLICATION_CREDENTIALS names; for many threads."""

    def __init__(self, env: Mapping[str, str], *, clock: Callable[[], float] = time.time) -> None:
        """Raises ConfigError where the package that signs is missing."""
        if importlib.util.find_spec("cryptography") is None:
            raise ConfigError(
                "gs:// needs packages that are not installed: cryptography.",
                remedy="Install them: pip install 'hardtack[google]'; "
                "a public bucket needs none: --unsigned.",
            )
        self._env, self._clock = env, clock
        self._lock = threading.Lock()
        self._token: Token | None = None

    def token(self) -> Token:
        """One that is still good, of the file as it is now. Raises AccessDenied."""
        with self._lock:
            path = self._path()
            mark, now = _mark(path), self._clock()
            found = self._token
            if found is None or found.file != mark or found.expires - now < _RENEW_AHEAD:
                found = self._token = _signed(path, mark, now)
            return found

    def replaced(self, refused: Token) -> bool:
        """Whether the file is another than the one of `refused`. Raises AccessDenied."""
        return self.token().file != refused.file

    def _path(self) -> Path:
        name = self._env.get(VARIABLE)
        if not name:
            raise AccessDenied(
                f"No credentials were found: {VARIABLE} is not set, and nothing else is asked.",
                remedy=f"Set {VARIABLE} to the file of a service account, or ask for unsigned "
                "requests if the bucket is public.",
            )
        return Path(name)


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise AccessDenied(f"{VARIABLE}: {path} can't be read: {error.strerror}.") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _signed(path: Path, mark: object, now: float) -> Token:
    account = _read(path)
    claims = {
        "iss": account["client_email"], "sub": account["client_email"], "scope": _SCOPE,
        "iat": int(now), "exp": int(now + _LIFETIME),
    }  # fmt: skip
    header = {"alg": "RS256", "typ": "JWT", "kid": account["private_key_id"]}
    text = f"{_part(header)}.{_part(claims)}"
    signature = _signature(account["private_key"], text.encode(), path)
    return Token(account["client_email"], f"{text}.{_base64(signature)}", now + _LIFETIME, mark)


def _read(path: Path) -> dict[str, str]:
    """The account's file; what it holds is never part of an error."""
    try:
        account: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise AccessDenied(f"{VARIABLE}: {path} can't be read: {error.strerror}.") from error
    except ValueError:
        raise AccessDenied(f"{VARIABLE}: {path} is not JSON.", remedy="Download it anew.") from None
    kind = account.get("type") if isinstance(account, dict) else None
    if kind != "service_account":
        raise AccessDenied(
            f"{VARIABLE}: {path} is of type {str(kind)[:40]!r}, not 'service_account'.",
            remedy="Make a key of a service account; others are not built.",
        )
    names = ("client_email", "private_key", "private_key_id")
    missing = [name for name in names if not isinstance(account.get(name), str)]
    if missing:
        raise AccessDenied(f"{VARIABLE}: {path} has no {', '.join(missing)}.")
    return {name: account[name] for name in names}


def _signature(pem: str, text: bytes, path: Path) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise AccessDenied(f"{VARIABLE}: the private key in {path} is no RSA key in PEM.")
    return key.sign(text, PKCS1v15(), SHA256())


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
