"""How long a request is tried, and what a registry's refusal means."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hardtack.core.backoff import Backoff
from hardtack.core.errors import AccessDenied, HardtackError, NotFound, RegistryError

log = logging.getLogger(__name__)

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""


class Patience(NamedTuple):
    """How long to keep trying. `seconds`: without any progress; `unanswered`: a registry that has
    never answered, whose name may be wrong; `clock` and `sleep` for tests (else
    the wait that `Stop` ends)."""

    seconds: float = 120.0
    unanswered: float = 15.0
    backoff: Backoff = Backoff(first=0.25, cap=20.0)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] | None = None


class Stop:
    """Ends what several threads wait for: the next attempt, or bytes that don't come."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._waiting: set[socket.socket] = set()

    def set(self) -> None:
        """From now on nothing waits."""
        self._set.set()
        with self._lock:
            for sock in self._waiting:
                _cut(sock)

    def is_set(self) -> bool:
        return self._set.is_set()

    def wait(self, seconds: float) -> None:
        self._set.wait(seconds)

    @contextlib.contextmanager
    def ends(self, sock: socket.socket) -> Iterator[None]:
        """While bytes are awaited on `sock`: it is shut down when the time has come."""
        with self._lock:
            self._waiting.add(sock)
            if self._set.is_set():
                _cut(sock)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(sock)


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended by itself
        sock.shutdown(socket.SHUT_RDWR)


class Attempts:
    """Back-off within a deadline that progress moves."""

    def __init__(
        self, patience: Patience, what: str, *, answered: bool, stop: Stop | None = None
    ) -> None:
        self.stop = stop or Stop()
        self._patience, self._what, self._answered = patience, what, answered
        self._allow(patience.seconds if answered else min(patience.unanswered, patience.seconds))

    def answered(self) -> None:
        """The registry is there, whatever it says."""
        if not self._answered:
            self._answered = True
            self.progress()

    def progress(self) -> None:
        """Bytes have come: the deadline starts anew."""
        self._allow(self._patience.seconds)

    def _allow(self, seconds: float) -> None:
        self._deadline = self._patience.clock() + seconds
        self._delays = self._patience.backoff.delays()

    def failed(self, error: HardtackError, wait: float | None = None) -> None:
        """Wait before the next attempt, `wait` seconds if the server said so; raises `error` when
        the deadline would pass, or nobody waits any more."""
        delay = next(self._delays) if wait is None else wait
        if self.stop.is_set() or self._patience.clock() + delay > self._deadline:
            raise error
        log.info("%s: %s Again in %.1f s.", self._what, error.message, delay)
        (self._patience.sleep or self.stop.wait)(delay)
        if self.stop.is_set():
            raise error


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for (a number or a date); None without one."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    from email.utils import parsedate_to_datetime  # late: a date is rare

    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except ValueError:
        return None


def refusal(status: int, host: str, what: str) -> HardtackError:
    """The error that `status` means, for a person."""
    if status in (401, 403):
        return AccessDenied(
            f"{host} refuses {what} (HTTP {status}).",
            remedy="Log in (docker login), or check the name: many registries answer so "
            "for an image that doesn't exist.",
        )
    if status == 404:
        remedy = "Check the repository and the tag."
        if "@" in what:
            remedy = (
                "It was removed there, or this is another registry than it was locked from. "
                "`hardtack images lock PATH… --update` locks what is there now."
            )
        return NotFound(f"{host} has no {what}.", remedy=remedy)
    if status == 429:
        return RegistryError(
            f"{host} limits the rate of requests (HTTP 429) for {what}.",
            remedy="Log in, or try later.",
        )
    return RegistryError(f"{host} answers HTTP {status} for {what}.")
