"""The cloud: requests to it with a deadline, and whether it is worth asking at all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from hardtack import __version__
from hardtack.core.backoff import Backoff
from hardtack.core.errors import ConfigError, UpstreamError, in_words
from hardtack.core.proxy import LOGIN, ProxyError
from hardtack.endpoint import exactly
from hardtack.endpoint.ways import connections

_log = logging.getLogger(__name__)

_MOST_REPLY = 20_000_000
_PIECE = 65536
_AT_ONCE = 8
_PROBING = Backoff(first=1.0, cap=30.0)
_PROXY_SAYS = 407
_LOGGED_OUT = f"the proxy wants a user and a password. {LOGIN}".rstrip(".")
TOKEN = "x-api-token"


class Breaker:
    """Open from the first failure on; closed again when a probe has come through. Thread-safe.

    Image queries never probe: while it is open they don't pay for a cloud that hangs.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open = False
        self.since = clock()
        self.reason = ""

    @property
    def open(self) -> bool:
        return self._open

    def succeeded(self) -> None:
        self._set(False, "")

    def failed(self, reason: str) -> None:
        self._set(True, reason)

    def _set(self, is_open: bool, reason: str) -> None:
        with self._lock:
            if self._open != is_open:
                self._open, self.since = is_open, self._clock()
                word = "can't be reached" if is_open else "is reached again"
                _log.warning("The cloud %s%s", word, f": {reason}" if reason else "")
            self.reason = reason


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The object that the body is. Raises UpstreamError."""
        try:
            value = exactly.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise UpstreamError(f"The cloud's reply {self.status} is not a JSON object.")
        return value

    @property
    def detail(self) -> str:
        """Why it says no, in its own words."""
        try:
            return str(self.json().get("detail", "no reason given"))[:200]
        except UpstreamError:
            return "no reason given"


@dataclass
class Streamed:
    """A reply whose body is still to come."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]


class Upstream:
    """The cloud at `url` (scheme and host; paths begin with `/device-api`). Thread-safe.

    `deadline`: seconds that an image query may cost altogether. `token` is used where no caller
    gave one.
    """

    def __init__(
        self, url: str, *, token: str = "", deadline: float = 10.0, ca: Path | None = None
    ) -> None:
        """Raises ConfigError for an unusable address or CA file."""
        self.url = _origin(url)
        self.deadline = deadline
        self.breaker = Breaker()
        self._own_token = token
        self._last_token = ""
        self._pool = connections(self.url, ca, _AT_ONCE)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upstream")
        self._free = threading.Semaphore(_AT_ONCE)
        self._closed = threading.Event()
        self._prober = threading.Thread(target=self._probe, name="cloud probe", daemon=True)

    def start(self) -> None:
        self._prober.start()

    def close(self) -> None:
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.clear()

    @property
    def reachable(self) -> bool:
        return not self.breaker.open

    @property
    def token(self) -> str:
        """What queries that are delivered later go with; empty where nobody gave one yet."""
        return self._own_token or self._last_token

    def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None,
        body: bytes | None = None, media: str = "", token: str = "",
    ) -> Reply:  # fmt: skip
        """The reply, whole, within the deadline, whatever it says below 500.

        Raises UpstreamError, and opens the breaker, where there is none.
        """
        if not self._free.acquire(blocking=False):
            raise UpstreamError(f"{_AT_ONCE} requests to the cloud are under way already.")
        work: Future[Reply]
        try:
            work = self._threads.submit(self._exchange, method, path, query, body, media, token)
        except RuntimeError:
            self._free.release()
            raise UpstreamError("The endpoint is ending.") from None
        work.add_done_callback(lambda _: self._free.release())
        try:
            reply = work.result(self.deadline)
        except FutureTimeout:
            reason = f"no answer within {self.deadline:g} s"
            self.breaker.failed(reason)
            raise UpstreamError(f"The cloud at {self.url} gave {reason}.") from None
        except urllib3.exceptions.HTTPError as error:
            raise self._failed(_reason(error)) from None
        if wrong := _not_the_clouds(reply):
            raise self._failed(wrong)
        self.breaker.succeeded()
        return reply

    def stream(
        self, method: str, path: str, query: str, body: Iterator[bytes] | None,
        headers: Mapping[str, str],
    ) -> Streamed:  # fmt: skip
        """A request passed on as it is. Raises UpstreamError."""
        self.remember(headers.get(TOKEN, ""))
        url = f"{self.url}{path}" + (f"?{query}" if query else "")
        try:
            reply = self._pool.request(
                method, url, body=body, headers=self._headers(headers), preload_content=False,
                redirect=False, retries=False, decode_content=False,
                timeout=urllib3.Timeout(connect=self.deadline, read=self.deadline),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise self._failed(_reason(error)) from None
        if reply.status == _PROXY_SAYS:
            reply.close()
            raise self._failed(_LOGGED_OUT)
        return Streamed(reply.status, dict(reply.headers), _pieces(reply))

    def _failed(self, reason: str) -> UpstreamError:
        self.breaker.failed(reason)
        return UpstreamError(f"The cloud at {self.url} can't be reached: {reason}.")

    def _exchange(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | None,
        media: str, token: str,
    ) -> Reply:  # fmt: skip
        self.remember(token)
        headers = {TOKEN: token} if token else {}
        if media:
            headers["content-type"] = media
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        begun = time.monotonic()
        timeout = urllib3.Timeout(connect=self.deadline, read=self.deadline)
        reply = self._pool.request(
            method, url, body=body, headers=self._headers(headers), timeout=timeout,
            redirect=False, retries=False, preload_content=False,
        )  # fmt: skip
        with closing(reply):
            received = bytearray()
            for piece in _come(reply):
                received += piece
                if len(received) > _MOST_REPLY or time.monotonic() - begun > self.deadline:
                    raise urllib3.exceptions.HTTPError("its reply has no end")
            reply.release_conn()
        return Reply(reply.status, dict(reply.headers), bytes(received))

    def _headers(self, given: Mapping[str, str]) -> dict[str, str]:
        headers = {"user-agent": f"hardtack/{__version__}", **given}
        if TOKEN not in headers and self._own_token:
            headers[TOKEN] = self._own_token
        return headers

    def remember(self, token: str) -> None:
        """Have what is delivered later go with a caller's token, if it is one."""
        if token:
            self._last_token = token

    def _probe(self) -> None:
        """Ask for a sign of life as long as the breaker is open."""
        delays = _PROBING.delays()
        while not self._closed.wait(0.2):
            if not self.breaker.open:
                delays = _PROBING.delays()
                continue
            if self._closed.wait(next(delays)):
                return
            try:
                self.request("GET", "/device-api/v1/me", token=self.token)
            except UpstreamError as error:
                _log.debug("%s", error)
            except Exception:  # noqa: BLE001 (who doesn't probe never finds the cloud again)
                _log.exception("The cloud can't be asked whether it is there.")


def _origin(url: str) -> str:
    parts = urlsplit(url.rstrip("/").removesuffix("/device-api"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise ConfigError(
            f"{url!r} is not the address of a cloud.",
            remedy="Write it like https://api.groundlight.ai.",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _pieces(reply: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    with closing(reply):
        yield from _come(reply, decode=False)
        reply.release_conn()


def _come(reply: urllib3.BaseHTTPResponse, *, decode: bool = True) -> Iterator[bytes]:
    """The body in pieces as they come: one that trickles in is not waited for to fill them."""
    while piece := reply.read1(_PIECE, decode_content=decode):
        yield piece


def _not_the_clouds(reply: Reply) -> str:
    """Why a reply says nothing about what was asked; empty where it does."""
    if reply.status == _PROXY_SAYS:
        return _LOGGED_OUT
    if reply.status >= 500 or 300 <= reply.status < 400:
        return f"it answers {reply.status}"
    kind = next((v for n, v in reply.headers.items() if n.lower() == "content-type"), "")
    if kind.lower().startswith("text/html"):
        return f"{reply.status} comes with a web page, as of a proxy or of a network's sign-in"
    return ""


def _reason(error: Exception) -> str:
    """What went wrong, without the address: that may hold a query."""
    cause = error.__cause__ or error
    if isinstance(cause, ProxyError):
        return f"{cause}. {cause.remedy}".rstrip(".")
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"TLS: {error}"
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # to urllib3 a time-out too
    if isinstance(error, urllib3.exceptions.TimeoutError) and not refused:
        return "it takes too long"
    return in_words(cause)
