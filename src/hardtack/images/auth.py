"""Credentials for registries: Docker's config, credential helpers, ECR; and the tokens they buy."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import AccessDenied, ConfigError, SourceUnreachable

log = logging.getLogger(__name__)

_ECR = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_HELPER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or an identity token to trade for access tokens."""

    user: str
    password: str = field(repr=False, default="")
    identity_token: str = field(repr=False, default="")

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 asks for: scheme (`bearer`, `basic`) and its parameters."""

    scheme: str
    parameters: dict[str, str] = field(hash=False)

    @classmethod
    def parse(cls, header: str) -> Challenge:
        scheme, _, rest = header.partition(" ")
        pairs = re.findall(r'([a-zA-Z_]+)\s*=\s*(?:"([^"]*)"|([^\s",]+))', rest)
        return cls(scheme.lower(), {name.lower(): quoted or bare for name, quoted, bare in pairs})


class DockerConfig:
    """What `docker login` and credential helpers know. Reads the file once, when first asked."""

    def __init__(self, path: Path | None = None) -> None:
        directory = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
        self._path = path or Path(directory) / "config.json"
        self._document: dict[str, Any] | None = None

    def credentials(self, host: str) -> Credentials | None:
        """Credentials for `host` (`ghcr.io`, `docker.io`), None for none.

        Raises ConfigError for a file that can't be read, AccessDenied for a helper that fails.
        """
        document = self._load()
        keys = (
            _HUB_KEYS
            if host in _HUB_KEYS
            else (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")
        )
        helpers = document.get("credHelpers") or {}
        for key in keys:
            if key in helpers:
                return _ask_helper(str(helpers[key]), host)
        if store := document.get("credsStore"):
            for key in keys[:2]:
                if found := _ask_helper(str(store), key):
                    return found
        auths = document.get("auths") or {}
        for key in keys:
            if isinstance(auths.get(key), dict) and (found := self._entry(auths[key], key)):
                return found
        return ecr_credentials(host)

    def _entry(self, entry: dict[str, Any], key: str) -> Credentials | None:
        if token := entry.get("identitytoken"):
            return Credentials("<token>", "", str(token))
        if encoded := entry.get("auth"):
            return decode_auth(str(encoded), f"{self._path}: auths[{key!r}]")
        if entry.get("username"):
            return Credentials(str(entry["username"]), str(entry.get("password", "")))
        return None

    def _load(self) -> dict[str, Any]:
        if self._document is None:
            try:
                document = json.loads(self._path.read_bytes())
                if not isinstance(document, dict):
                    raise ValueError("not a JSON object")
                self._document = document
            except FileNotFoundError:
                self._document = {}
            except (OSError, ValueError) as error:
                raise ConfigError(f"{self._path} can't be read: {error}.") from error
        return self._document


def decode_auth(encoded: str, place: str) -> Credentials:
    """Docker's base64 `user:password`. Raises ConfigError naming `place`, not the value."""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: `auth` is not base64 of user:password.") from error
    return Credentials(user, password.rstrip("\0"))


def _ask_helper(name: str, host: str) -> Credentials | None:
    import shutil  # late, both: most registries need no helper
    import subprocess

    program = f"docker-credential-{name}"
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or shutil.which(program) is None:
        raise ConfigError(
            f"Docker's config names the credential helper {program}, which is not on the PATH."
        )
    try:
        done = subprocess.run(
            [program, "get"],
            input=host.encode(),
            capture_output=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AccessDenied(
            f"{program} gave no credentials for {host} in {_HELPER_SECONDS} s."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"Docker's config names the credential helper {program}, which can't be run: "
            f"{error.strerror}.",
            remedy="Install it again, or take it out of that file.",
        ) from error
    if done.returncode:
        if b"not found" in (done.stdout + done.stderr).lower():
            return None
        raise AccessDenied(f"{program} failed for {host} with exit code {done.returncode}.")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise AccessDenied(
            f"{program} gave an answer for {host} that isn't credentials."
        ) from error
    return Credentials(user, "", secret) if user == "<token>" else Credentials(user, secret)


# botocore takes ~60 MiB and half a second: it lives in a process that ends.
_ECR_SCRIPT = """
import sys, json, botocore.session, botocore.config, botocore.exceptions as wrong
patience = botocore.config.Config(connect_timeout=10, read_timeout=20, retries={"max_attempts": 1})
client = botocore.session.get_session().create_client("ecr", sys.argv[1], config=patience)
try:
    answer = client.get_authorization_token()
except (wrong.ConnectionError, wrong.HTTPClientError) as error:
    print(error, file=sys.stderr)
    sys.exit(1 if isinstance(error, wrong.SSLError) else 3)
print(json.dumps(answer["authorizationData"][0]["authorizationToken"]))
"""
_UNREACHABLE = 3


def ecr_credentials(host: str, env: Mapping[str, str] | None = None) -> Credentials | None:
    """A token for an ECR registry, by `docker-credential-ecr-login` or botocore; None for other
    hosts and where neither is there.

    `env`: the environment that AWS's settings come from. Raises SourceUnreachable when AWS can't be
    reached, AccessDenied when it refuses.
    """
    match = _ECR.fullmatch(host)
    if match is None:
        return None
    import shutil
    import subprocess

    if shutil.which("docker-credential-ecr-login"):
        return _ask_helper("ecr-login", host)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ECR_SCRIPT, match[1]],
            capture_output=True, timeout=_HELPER_SECONDS, check=False, env=env,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SourceUnreachable(
            f"{host}: AWS gives no ECR token within {_HELPER_SECONDS} s."
        ) from None
    if done.returncode == 0:
        return decode_auth(json.loads(done.stdout), f"ECR's token for {host}")
    reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["unknown"]
    if "No module named 'botocore'" in reason[0]:
        log.warning("%s: no ECR token: install hardtack[aws] or docker-credential-ecr-login", host)
        return None
    if done.returncode == _UNREACHABLE:
        raise SourceUnreachable(f"{host}: AWS can't be reached for an ECR token: {reason[0]}.")
    raise AccessDenied(f"{host}: AWS gives no ECR token: {reason[0]}.")
