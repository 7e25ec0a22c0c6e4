"""Which credentials sign requests: found where they are configured, renewed in time.

Environment, shared files and `credential_process` are read here. What needs a conversation with
a service (web identity, container, SSO, assumed roles, instance) is asked by a short-lived
`hardtack.source.credential_helper`, so that botocore never weighs on the process that serves.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from hardtack.core.errors import AccessDenied, ConfigError
from hardtack.source.aws_config import Files, Profile, profile_name, read_profile
from hardtack.source.options import SourceOptions
from hardtack.source.sigv4 import Credentials

RENEW_AHEAD = 300.0
RETRY_AFTER = 30.0
_PATIENCE = 60.0  # seconds that a process has to print credentials
_HELPER = [sys.executable, "-m", "hardtack.source.credential_helper"]
_SERVICE_SETTINGS = ("role_arn", "sso_session", "sso_start_url", "login_session")
_CONTAINER = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finder:
    """One search through the places where credentials may be configured."""

    options: SourceOptions
    env: Mapping[str, str]
    files: Files

    def find(self) -> Credentials:
        """Raises AccessDenied naming the places that were looked at, or why one failed."""
        if not self.options.profile:
            found = _from_environment(self.env)
            if found:
                return found
        name = profile_name(self.options.profile, self.env)
        try:
            profile = read_profile(self.files, name)
        except ConfigError as error:
            raise AccessDenied(error.message, remedy=error.remedy) from error
        if name != "default" and not profile.exists:
            raise AccessDenied(
                f"There is no profile {name!r} in {self.files.config} or {self.files.credentials}.",
                remedy="Name one that exists, or add it.",
            )
        return self._of_profile(profile) or self._of_services() or self._none(name)

    def _of_profile(self, profile: Profile) -> Credentials | None:
        where = f"profile {profile.name}"
        if any(profile.get(setting) for setting in _SERVICE_SETTINGS):
            return self._ask_helper(f"{where}, through AWS", profile.name)
        found = _static(profile.keys, f"{where} in {self.files.credentials}")
        if found:
            return found
        process = profile.get("credential_process")
        if process:
            try:
                command = shlex.split(process)
            except ValueError as error:
                raise AccessDenied(f"credential_process of {where}: {error}.") from error
            return run_process(command, f"credential_process of {where}", self.env)
        return _static(profile.settings, f"{where} in {self.files.config}")

    def _of_services(self) -> Credentials | None:
        if self.env.get("AWS_WEB_IDENTITY_TOKEN_FILE") and self.env.get("AWS_ROLE_ARN"):
            return self._ask_helper("web identity")
        if any(self.env.get(name) for name in _CONTAINER):
            return self._ask_helper("container credentials")
        if self._instance_allowed:
            return self._ask_helper("instance metadata")
        return None

    def _ask_helper(self, origin: str, profile: str | None = None) -> Credentials:
        env = dict(self.env)
        if not self._instance_allowed:
            env["AWS_EC2_METADATA_DISABLED"] = "true"
        return run_process([*_HELPER, *([profile] if profile else [])], origin, env)

    @property
    def _instance_allowed(self) -> bool:
        disabled = self.env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        return self.options.credentials == "instance" and not disabled

    def _none(self, profile: str) -> Credentials:
        places = [
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            + (" (not looked at: a profile was named)" if self.options.profile else ""),
            f"profile {profile} in {self.files.credentials} and {self.files.config}",
            "web identity (AWS_WEB_IDENTITY_TOKEN_FILE)",
            f"container ({_CONTAINER[0]})",
            "instance metadata" + ("" if self._instance_allowed else " (not asked: not allowed)"),
        ]
        raise AccessDenied(
            f"No credentials were found. Looked at: {'; '.join(places)}.",
            remedy="Configure one of them, or ask for unsigned requests if the bucket is public.",
        )


class CredentialChain:
    """The current credentials, for many threads; None from `get` when requests are unsigned."""

    def __init__(
        self,
        options: SourceOptions,
        env: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._unsigned = options.unsigned
        self._env = os.environ if env is None else env
        self._finder = Finder(options, self._env, Files.of(self._env))
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Credentials | None = None
        self._mark: object = None
        self._tried = float("-inf")

    def get(self) -> Credentials | None:
        """Credentials that are still good. Raises AccessDenied."""
        if self._unsigned:
            return None
        with self._lock:
            current, now = self._current, self._clock()
            mark = self._file_mark()
            if current is None or mark != self._mark:
                return self._find(now, mark)
            if current.expires is not None and current.expires - now < RENEW_AHEAD:
                if now - self._tried < RETRY_AFTER and now < current.expires:
                    return current
                return self._find(now, mark)
            return current

    def replace(self, refused: Credentials) -> bool:
        """After a 403 to `refused`: whether there are others by now. Raises AccessDenied."""
        with self._lock:
            if self._current == refused:
                self._find(self._clock(), self._file_mark(), keep=False)
            return self._current != refused

    def _find(self, now: float, mark: object, *, keep: bool = True) -> Credentials:
        self._tried = now
        try:
            found = self._finder.find()
        except AccessDenied as error:
            current = self._current
            good = current is not None and (current.expires is None or now < current.expires)
            if not keep or current is None or not good:
                raise
            log.warning("credentials could not be renewed, the old ones still hold: %s", error)
            return current
        _check_form(found)
        if found.expires is not None and found.expires <= now:
            raise AccessDenied(
                f"The credentials of {found.origin} ({found.access_key}) have expired.",
                remedy="Renew them, and check that this machine's clock is right.",
            )
        self._current, self._mark = found, mark
        return found

    def _file_mark(self) -> object:
        return self._finder.files.mark(self._env.get("AWS_WEB_IDENTITY_TOKEN_FILE", ""))


def _check_form(found: Credentials) -> None:
    """That the keys can stand in a header: what would refuse them there quotes them."""
    for text in (found.access_key, found.secret_key, found.token or "x"):
        if not (text.isascii() and text.isprintable() and " " not in text):
            raise AccessDenied(
                f"The credentials of {found.origin} hold characters that no key has.",
                remedy="Look for blanks and line ends in them.",
            )


def _from_environment(env: Mapping[str, str]) -> Credentials | None:
    access, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if bool(access) != bool(secret):
        raise AccessDenied(
            "Of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set.", remedy="Set both."
        )
    if not access or not secret:
        return None
    return Credentials(access, secret, env.get("AWS_SESSION_TOKEN") or None, None, "environment")


def _static(values: Mapping[str, str], origin: str) -> Credentials | None:
    access, secret = values.get("aws_access_key_id"), values.get("aws_secret_access_key")
    if not access:
        return None
    if not secret:
        raise AccessDenied(f"{origin} has an access key id without a secret.", remedy="Add it.")
    return Credentials(access, secret, values.get("aws_session_token") or None, None, origin)


def run_process(command: list[str], origin: str, env: Mapping[str, str]) -> Credentials:
    """What `command` prints in the form of `credential_process`. Raises AccessDenied.

    Its standard output is never shown: it may hold the secret.
    """
    try:
        done = subprocess.run(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AccessDenied(f"{origin}: no credentials within {_PATIENCE:.0f} s.") from None
    except OSError as error:
        raise AccessDenied(
            f"{origin}: {command[0]} can't be run: {error.strerror}.", remedy="Install it."
        ) from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise AccessDenied(
            f"{origin}: exit status {done.returncode}: {words[-1][:300] if words else 'no message'}"
        )
    return parse_process_output(done.stdout, origin)


def parse_process_output(text: bytes, origin: str) -> Credentials:
    """Credentials of `credential_process` JSON. Raises AccessDenied, without quoting it."""
    try:
        found = json.loads(text)
        expiration = found.get("Expiration")
        expires = None if expiration is None else datetime.fromisoformat(expiration).timestamp()
        version, access, secret = found["Version"], found["AccessKeyId"], found["SecretAccessKey"]
        token = found.get("SessionToken")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        missing = f" without {error}" if isinstance(error, KeyError) else ""
        raise AccessDenied(
            f"{origin}: printed something other than credentials{missing}."
        ) from None
    if version != 1 or not (isinstance(access, str) and isinstance(secret, str)):
        raise AccessDenied(f"{origin}: printed credentials of an unknown form or version.")
    return Credentials(access, secret, token or None, expires, origin)
