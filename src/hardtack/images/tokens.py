"""Authorization by repository: what a 401 asks for is bought once, and again when it expires."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode, urlsplit

from hardtack.core.errors import HardtackError, RegistryError, SourceUnreachable
from hardtack.images.attempts import AGAIN, Attempts, refusal
from hardtack.images.connection import Hopeless
from hardtack.images.mirrors import Endpoint
from hardtack.images.transport import Transport

if TYPE_CHECKING:  # imported when a registry asks who is there
    from hardtack.images.auth import Challenge, Credentials, DockerConfig


class Tokens:
    """Values of `Authorization` headers. Thread-safe."""

    def __init__(self, transport: Transport, docker: DockerConfig | None) -> None:
        self._transport, self._docker = transport, docker
        self._authorization: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def get(self, endpoint: Endpoint, path: str) -> str | None:
        """What was bought for this repository, if anything."""
        return self._authorization.get((endpoint.base, path))

    def renew(
        self,
        endpoint: Endpoint,
        path: str,
        header: str,
        what: str,
        stale: str | None,
        attempts: Attempts,
    ) -> None:
        """Buy what `header` (`WWW-Authenticate`) asks for, unless `stale` is replaced already.

        Raises AccessDenied, RegistryError, and what `attempts` gives up with."""
        from hardtack.images.auth import Challenge, DockerConfig

        key = (endpoint.base, path)
        with self._lock:
            if self._authorization.get(key) != stale:
                return  # another thread has renewed it meanwhile
            challenge = Challenge.parse(header)
            self._docker = self._docker or DockerConfig()
            credentials = endpoint.credentials or self._docker.credentials(
                _docker_name(endpoint.host)
            )
            if challenge.scheme == "bearer":
                self._authorization[key] = self._token(
                    endpoint, path, challenge, credentials, what, attempts
                )
            elif challenge.scheme == "basic" and credentials is not None:
                self._authorization[key] = credentials.basic
            else:
                raise refusal(401, endpoint.host, what)
            if self._authorization[key] == stale:
                raise refusal(401, endpoint.host, what)

    def _token(
        self, endpoint: Endpoint, path: str, challenge: Challenge, credentials: Credentials | None,
        what: str, attempts: Attempts,
    ) -> str:  # fmt: skip
        """The token that the challenge's realm gives, asked for until `attempts` gives up."""
        realm = challenge.parameters.get("realm", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise RegistryError(f"{endpoint.host} asks for a token but names no usable realm.")
        asked = _request(realm, path, challenge, credentials)
        host = urlsplit(realm).netloc
        while True:
            try:
                response = self._transport.send(
                    asked.method, asked.url, asked.headers, endpoint.tls, asked.body
                )
                try:
                    raw = response.read(1 << 20)
                finally:
                    response.close()
            except Hopeless:
                raise
            except SourceUnreachable as error:
                attempts.failed(error)
                continue
            if response.status in AGAIN:
                attempts.failed(refusal(response.status, host, what))
                continue
            if response.status != 200:
                raise _refused(response.status, host, what)
            return f"Bearer {_token_in(raw, host, what)}"


class _Request(NamedTuple):
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None


def _request(
    realm: str, path: str, challenge: Challenge, credentials: Credentials | None
) -> _Request:
    """What asks the realm for a token."""
    asked = {"scope": challenge.parameters.get("scope") or f"repository:{path}:pull"}
    if service := challenge.parameters.get("service"):
        asked["service"] = service
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": "hardtack",
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return _Request("POST", realm, headers, urlencode(form | asked).encode())
    url = realm + ("&" if "?" in realm else "?") + urlencode(asked)
    headers = {} if credentials is None else {"Authorization": credentials.basic}
    return _Request("GET", url, headers)


def _token_in(reply: bytes, host: str, what: str) -> str:
    """Raises RegistryError."""
    try:
        answer = json.loads(reply)
        token = str(answer.get("token") or answer["access_token"])
    except (ValueError, KeyError, AttributeError) as error:
        raise RegistryError(f"{host} gave no token for {what}.") from error
    if not (token.isascii() and token.isprintable()):
        raise RegistryError(
            f"{host} gave a token for {what} with characters that no header can carry.",
            remedy="Is it a token server, and is it well? Its log says.",
        )
    return token


def _refused(status: int, host: str, what: str) -> HardtackError:
    """The error that a token server's `status` means; its 404 says nothing of the image."""
    if status == 404:
        return RegistryError(f"{host} gives no token for {what} (HTTP 404): no such page.")
    return refusal(status, host, what)


def _docker_name(host: str) -> str:
    return "docker.io" if host == "registry-1.docker.io" else host
