"""The client of registries: manifests and blobs by the distribution protocol."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from hardtack.core.backoff import Backoff
from hardtack.core.errors import (
    AccessDenied,
    ConfigError,
    CorruptReply,
    HardtackError,
    NotFound,
    RegistryError,
    SourceUnreachable,
)
from hardtack.images.auth import Challenge, Credentials, DockerConfig
from hardtack.images.manifest import (
    INDEXES,
    MANIFESTS,
    MAX_MANIFEST,
    Index,
    Manifest,
    parse,
    sha256,
)
from hardtack.images.mirrors import Endpoint, Registries
from hardtack.images.transport import Transport, unreachable

log = logging.getLogger(__name__)

CHUNK = 512 << 10  # what a kill may lose of each connection; smaller costs processor time
_ACCEPT = ", ".join(
    [*sorted(INDEXES | MANIFESTS), "application/vnd.docker.distribution.manifest.v1+prettyjws"]
)
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to keep trying. `seconds`: without any progress; `clock` and `sleep` for tests."""

    seconds: float = 120.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.25, cap=20.0))
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Registry:
    """Reads images of any registry. Thread-safe; no connection before the first request.

    `name` below is a normalised repository with its registry: `docker.io/library/alpine`.
    """

    def __init__(
        self,
        registries: Registries | None = None,
        docker: DockerConfig | None = None,
        *,
        transport: Transport | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._registries = registries or Registries()
        self._docker = docker or DockerConfig()
        self._transport = transport or Transport()
        self._patience = patience or Patience()
        self._authorization: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give back connections."""
        self._transport.close()

    def manifest(self, name: str, reference: str) -> Manifest | Index:
        """The manifest or index of `reference` (a tag or a digest), its digest checked.

        Raises NotFound, AccessDenied, SourceUnreachable, CorruptReply, RegistryError.
        """
        what = f"{name}@{reference}" if ":" in reference else f"{name}:{reference}"
        return self._anywhere(name, what, lambda e, path: self._manifest(e, path, reference, what))

    def blob(self, name: str, digest: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of a blob in chunks of at most CHUNK bytes, resumed inside when a
        connection breaks. The digest is for the caller to check. Raises as `manifest` does."""
        position = start
        errors: list[HardtackError] = []
        for endpoint, path in self._places(name):
            try:
                for chunk in self._blob(endpoint, path, digest, position, stop):
                    position += len(chunk)
                    yield chunk
                return
            except (
                NotFound,
                AccessDenied,
                SourceUnreachable,
                CorruptReply,
                RegistryError,
            ) as error:
                errors.append(error)
        raise _best(errors)

    def _places(self, name: str) -> Iterator[tuple[Endpoint, str]]:
        registry, _, repository = name.partition("/")
        for endpoint in self._registries.endpoints(registry):
            yield endpoint, endpoint.repository(repository)

    def _anywhere(
        self, name: str, what: str, ask: Callable[[Endpoint, str], Manifest | Index]
    ) -> Manifest | Index:
        errors: list[HardtackError] = []
        for endpoint, path in self._places(name):
            try:
                return ask(endpoint, path)
            except (NotFound, AccessDenied, SourceUnreachable, CorruptReply) as error:
                log.debug("%s: %s", what, error)
                errors.append(error)
        raise _best(errors)

    def _manifest(
        self, endpoint: Endpoint, path: str, reference: str, what: str
    ) -> Manifest | Index:
        attempts = _Attempts(self._patience, what)
        while True:
            response = self._get(
                endpoint, path, f"manifests/{reference}", {"Accept": _ACCEPT}, what, attempts
            )
            try:
                raw = response.read(MAX_MANIFEST + 1)
            except (HTTPError, OSError) as error:
                attempts.failed(unreachable(endpoint.host, error))
                continue
            finally:
                response.release_conn()
            break
        if len(raw) > MAX_MANIFEST:
            raise CorruptReply(f"The manifest of {what} is over {MAX_MANIFEST >> 20} MiB.")
        if ":" in reference and sha256(raw) != reference:
            raise CorruptReply(
                f"{what}: {endpoint.host} sent a manifest whose digest is {sha256(raw)}."
            )
        return parse(raw, response.headers.get("Content-Type", ""), what)

    def _blob(
        self, endpoint: Endpoint, path: str, digest: str, start: int, stop: int
    ) -> Iterator[bytes]:
        what = f"{endpoint.host}/{path}@{digest}"
        attempts = _Attempts(self._patience, what)
        position = start
        while position < stop:
            # The digest is over the bytes as stored: no transfer compression.
            headers = {"Range": f"bytes={position}-{stop - 1}", "Accept-Encoding": "identity"}
            response = self._get(endpoint, path, f"blobs/{digest}", headers, what, attempts)
            try:
                for chunk in _body(response, position, stop, what):
                    position += len(chunk)
                    attempts.progress()
                    yield chunk
                if position < stop:
                    attempts.failed(
                        CorruptReply(f"{what} ends after {position} bytes; expected {stop}.")
                    )
            except (HTTPError, OSError) as error:
                attempts.failed(unreachable(endpoint.host, error))
            finally:
                # A body left half-way can't share its connection with another request.
                response.release_conn() if position >= stop else response.close()

    def _get(
        self,
        endpoint: Endpoint,
        path: str,
        rest: str,
        headers: dict[str, str],
        what: str,
        attempts: _Attempts,
    ) -> urllib3.BaseHTTPResponse:
        """A successful response, after as many attempts as patience allows."""
        url = f"{endpoint.base}/{path}/{rest}"
        if endpoint.mirror_of:
            url += "?" + urlencode({"ns": endpoint.mirror_of})
        renewed = False
        while True:
            sent = self._authorization.get((endpoint.base, path))
            extra = {"Authorization": sent} if sent else {}
            try:
                response = self._transport.send("GET", url, headers | extra, endpoint.tls)
            except SourceUnreachable as error:
                attempts.failed(error)
                continue
            if response.status in (200, 206):
                return response
            response.drain_conn()
            response.release_conn()
            if response.status == 401 and not renewed:
                self._authorize(
                    endpoint,
                    path,
                    response.headers.get("WWW-Authenticate", ""),
                    what,
                    sent,
                    attempts,
                )
                renewed = True
                continue
            refusal = _refusal(response.status, endpoint.host, what)
            if response.status not in _AGAIN:
                raise refusal
            attempts.failed(refusal, retry_after(response.headers.get("Retry-After"), time.time()))

    def _authorize(
        self,
        endpoint: Endpoint,
        path: str,
        header: str,
        what: str,
        stale: str | None,
        attempts: _Attempts,
    ) -> None:
        key = (endpoint.base, path)
        with self._lock:
            if self._authorization.get(key) != stale:
                return  # another thread has renewed it meanwhile
            challenge = Challenge.parse(header)
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
                raise _refusal(401, endpoint.host, what)
            if self._authorization[key] == stale:
                raise _refusal(401, endpoint.host, what)

    def _token(
        self, endpoint: Endpoint, path: str, challenge: Challenge, credentials: Credentials | None,
        what: str, attempts: _Attempts,
    ) -> str:  # fmt: skip
        realm = challenge.parameters.get("realm", "")
        if urlsplit(realm).scheme not in ("http", "https"):
            raise RegistryError(f"{endpoint.host} asks for a token but names no usable realm.")
        asked = {"scope": challenge.parameters.get("scope") or f"repository:{path}:pull"}
        if service := challenge.parameters.get("service"):
            asked["service"] = service
        method, url, headers, body = "GET", realm, {}, None
        if credentials is not None and credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": "hardtack",
            }
            method, body = "POST", urlencode(form | asked).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
        else:
            url += ("&" if "?" in realm else "?") + urlencode(asked)
            if credentials is not None:
                headers = {"Authorization": credentials.basic}
        host = urlsplit(realm).netloc
        tls = endpoint.tls
        while True:
            try:
                response = self._transport.send(method, url, headers, tls, body)
                raw = response.read(1 << 20)
                response.release_conn()
            except SourceUnreachable as error:
                attempts.failed(error)
                continue
            except (HTTPError, OSError) as error:
                attempts.failed(unreachable(host, error))
                continue
            if response.status in _AGAIN:
                attempts.failed(_refusal(response.status, host, what))
                continue
            if response.status != 200:
                raise _refusal(401, host, what)
            try:
                answer = json.loads(raw)
                return f"Bearer {answer.get('token') or answer['access_token']}"
            except (ValueError, KeyError, AttributeError) as error:
                raise RegistryError(f"{host} gave no token for {what}.") from error


class _Attempts:
    """Back-off within a deadline that progress moves."""

    def __init__(self, patience: Patience, what: str) -> None:
        self._patience, self._what = patience, what
        self.progress()

    def progress(self) -> None:
        self._deadline = self._patience.clock() + self._patience.seconds
        self._delays = self._patience.backoff.delays()

    def failed(self, error: HardtackError, wait: float | None = None) -> None:
        """Wait before the next attempt, `wait` seconds if the server said so; raises `error` when
        the deadline would pass."""
        delay = next(self._delays) if wait is None else wait
        if self._patience.clock() + delay > self._deadline:
            raise error
        log.info("%s: %s Again in %.1f s.", self._what, error, delay)
        self._patience.sleep(delay)


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for (a number or a date); None without one."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return None


def _body(response: urllib3.BaseHTTPResponse, start: int, stop: int, what: str) -> Iterator[bytes]:
    """The bytes [start, stop) of a response to a range request."""
    skip = 0
    if response.status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise CorruptReply(
                f"{what}: asked for bytes from {start}, "
                f"got {response.headers.get('Content-Range')!r}."
            )
    else:
        skip = start  # the registry knows no ranges: everything comes, from the start
    left = stop - start
    while left > 0:
        chunk = response.read(min(CHUNK, skip or left))
        if not chunk:
            return
        if skip:
            skip -= len(chunk)
            continue
        left -= len(chunk)
        yield chunk


def _refusal(status: int, host: str, what: str) -> HardtackError:
    if status in (401, 403):
        return AccessDenied(
            f"{host} refuses {what} (HTTP {status}).",
            remedy="Log in (docker login), or check the name: many registries answer so "
            "for an image that doesn't exist.",
        )
    if status == 404:
        return NotFound(f"{host} has no {what}.", remedy="Check the repository and the tag.")
    if status == 429:
        return RegistryError(
            f"{host} limits the rate of requests (HTTP 429) for {what}.",
            remedy="Log in, or try later.",
        )
    return RegistryError(f"{host} answers HTTP {status} for {what}.")


def _best(errors: list[HardtackError]) -> HardtackError:
    """The error worth showing: the last endpoint's, which is the registry itself."""
    return errors[-1] if errors else ConfigError("No endpoint to ask.")


def _docker_name(host: str) -> str:
    return "docker.io" if host == "registry-1.docker.io" else host
