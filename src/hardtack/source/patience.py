"""How often and how long one piece of work is tried again. Pure: clock and sleep are given."""

from __future__ import annotations

import time
from collections.abc import Callable

from hardtack.core.backoff import Backoff
from hardtack.source.options import SourceOptions

USEFUL = 64 << 10
"""Bytes since the last failure after which the count of attempts begins anew."""


class Patience:
    """Attempts left for one request or one body; bytes that arrive renew it."""

    def __init__(
        self,
        options: SourceOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._attempts, self._deadline = options.attempts, options.deadline
        self._clock, self._sleep = clock, sleep
        self._renew()

    def again(self) -> bool:
        """After a failure: wait and return True, or False when the attempts are used up."""
        self._failures += 1
        self._bytes = 0
        if self._failures >= self._attempts:
            return False
        delay = next(self._delays)
        if self._clock() + delay >= self._end:
            return False
        self._sleep(delay)
        return True

    def arrived(self, count: int) -> None:
        """`count` more bytes came."""
        if not self._failures:
            return
        self._bytes += count
        if self._bytes >= USEFUL:
            self._renew()

    def _renew(self) -> None:
        self._failures = 0
        self._bytes = 0
        self._delays = Backoff(first=0.2).delays()
        self._end = self._clock() + self._deadline


class RateWatch:
    """Whether a body keeps up the minimum rate; only time spent waiting for it counts."""

    def __init__(self, minimum: int, window: float) -> None:
        self._minimum, self._window = minimum, window
        self._waited = 0.0
        self._bytes = 0

    def sample(self, waited: float, count: int) -> bool:
        """`count` bytes came after `waited` seconds: whether that is fast enough so far."""
        self._waited += waited
        self._bytes += count
        if self._waited < self._window:
            return True
        enough = self._bytes >= self._minimum * self._waited
        self._waited, self._bytes = 0.0, 0
        return enough
