"""The client of registries: manifests and blobs by the distribution protocol."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hardtack.core.errors import (
    AccessDenied,
    ConfigError,
    CorruptReply,
    HardtackError,
    NotFound,
    RegistryError,
    SourceUnreachable,
)
from hardtack.images.attempts import AGAIN, Attempts, Patience, Stop, refusal, retry_after
from hardtack.images.connection import Hopeless, Response
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
from hardtack.images.tokens import Tokens
from hardtack.images.transport import Transport

if TYPE_CHECKING:
    from hardtack.images.auth import DockerConfig

log = logging.getLogger(__name__)

CHUNK = 1 << 20  # what a kill may lose of each connection; smaller costs processor time
_ACCEPT = ", ".join(
    [*sorted(INDEXES | MANIFESTS), "application/vnd.docker.distribution.manifest.v1+prettyjws"]
)


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
        self._transport = transport or Transport()
        self._patience = patience or Patience()
        self._tokens = Tokens(self._transport, docker)
        self._answered: set[str] = set()

    def close(self) -> None:
        """Give back connections."""
        self._transport.close()

    def manifest(self, name: str, reference: str) -> Manifest | Index:
        """The manifest or index of `reference` (a tag or a digest), its digest checked.

        Raises NotFound, AccessDenied, SourceUnreachable, CorruptReply, RegistryError.
        """
        what = f"{name}@{reference}" if ":" in reference else f"{name}:{reference}"
        return self._anywhere(name, what, lambda e, path: self._manifest(e, path, reference, what))

    def blob(
        self, name: str, digest: str, start: int, stop: int, ended: Stop | None = None
    ) -> Iterator[memoryview]:
        """Bytes [start, stop) of a blob in chunks of at most CHUNK bytes, resumed inside when a
        connection breaks. A chunk's bytes are there until the next one is asked for: they lie in
        one buffer. The digest is for the caller to check. `ended`: when to wait for nothing more.
        Raises as `manifest` does."""
        position = start
        buffer = memoryview(bytearray(min(CHUNK, max(stop - start, 1))))
        errors: list[HardtackError] = []
        for endpoint, path in self._places(name):
            try:
                parts = self._blob(
                    endpoint, path, digest, (position, stop), buffer, ended or Stop()
                )
                for chunk in parts:
                    position += len(chunk)
                    yield chunk
                return
            except _FAILURES as error:
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
            except _FAILURES as error:
                log.debug("%s: %s", what, error)
                errors.append(error)
        raise _best(errors)

    def _manifest(
        self, endpoint: Endpoint, path: str, reference: str, what: str
    ) -> Manifest | Index:
        attempts = self._attempts(endpoint, what)
        while True:
            response = self._get(
                endpoint, path, f"manifests/{reference}", {"Accept": _ACCEPT}, what, attempts
            )
            try:
                raw = response.read(MAX_MANIFEST + 1)
            except SourceUnreachable as error:
                attempts.failed(error)
                continue
            finally:
                response.close()
            break
        if len(raw) > MAX_MANIFEST:
            raise CorruptReply(f"The manifest of {what} is over {MAX_MANIFEST >> 20} MiB.")
        if ":" in reference and sha256(raw) != reference:
            raise CorruptReply(
                f"{what}: {endpoint.host} sent a manifest whose digest is {sha256(raw)}."
            )
        return parse(raw, response.headers.get("content-type", ""), what)

    def _blob(
        self,
        endpoint: Endpoint,
        path: str,
        digest: str,
        part: tuple[int, int],
        buffer: memoryview,
        ended: Stop,
    ) -> Iterator[memoryview]:
        what = f"{endpoint.host}/{path}@{digest}"
        attempts = self._attempts(endpoint, what, ended)
        position, stop = part
        while position < stop:
            # The digest is over the bytes as stored: no transfer compression.
            headers = {"Range": f"bytes={position}-{stop - 1}", "Accept-Encoding": "identity"}
            response = self._get(endpoint, path, f"blobs/{digest}", headers, what, attempts)
            try:
                with ended.ends(response.sock):
                    for chunk in _body(response, position, stop, buffer, what):
                        position += len(chunk)
                        attempts.progress()
                        yield chunk
                if position < stop:
                    attempts.failed(
                        CorruptReply(f"{what} ends after {position} bytes; expected {stop}.")
                    )
            except SourceUnreachable as error:
                attempts.failed(error)
            finally:
                response.close()

    def _get(
        self,
        endpoint: Endpoint,
        path: str,
        rest: str,
        headers: dict[str, str],
        what: str,
        attempts: Attempts,
    ) -> Response:
        """A successful response, after as many attempts as patience allows."""
        url = f"{endpoint.base}/{path}/{rest}"
        if endpoint.mirror_of:
            url += "?" + urlencode({"ns": endpoint.mirror_of})
        renewed = False
        while True:
            sent = self._tokens.get(endpoint, path)
            extra = {"Authorization": sent} if sent else {}
            try:
                response = self._transport.send(
                    "GET", url, headers | extra, endpoint.tls, stop=attempts.stop
                )
            except Hopeless:
                raise
            except SourceUnreachable as error:
                attempts.failed(error)
                continue
            self._answered.add(endpoint.host)
            attempts.answered()
            if response.status in (200, 206):
                return response
            response.close()
            if response.status == 401 and not renewed:
                challenge = response.headers.get("www-authenticate", "")
                self._tokens.renew(endpoint, path, challenge, what, sent, attempts)
                renewed = True
                continue
            refused = refusal(response.status, endpoint.host, what)
            if response.status not in AGAIN:
                raise refused
            attempts.failed(refused, retry_after(response.headers.get("retry-after"), time.time()))

    def _attempts(self, endpoint: Endpoint, what: str, stop: Stop | None = None) -> Attempts:
        known = endpoint.host in self._answered
        return Attempts(self._patience, what, answered=known, stop=stop)


def _body(
    response: Response, start: int, stop: int, buffer: memoryview, what: str
) -> Iterator[memoryview]:
    """The bytes [start, stop) of a response to a range request, each piece in `buffer`."""
    skip = 0
    if response.status == 206:
        if not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
            raise CorruptReply(
                f"{what}: asked for bytes from {start}, "
                f"got {response.headers.get('content-range')!r}."
            )
    else:
        skip = start  # the registry knows no ranges: everything comes, from the start
    left = stop - start
    while left > 0:
        count = response.readinto(buffer[: min(len(buffer), skip or left)])
        if count == 0:
            return
        if skip:
            skip -= count
            continue
        left -= count
        yield buffer[:count]


_FAILURES = (NotFound, AccessDenied, SourceUnreachable, CorruptReply, RegistryError)
"""Of one endpoint, after which the next is asked."""


def _best(errors: list[HardtackError]) -> HardtackError:
    """The error worth showing: the last endpoint's, which is the registry itself."""
    return errors[-1] if errors else ConfigError("No endpoint to ask.")
