"""Whether the source can be reached, and whether it is worth asking again. Pure but for a lock."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hardtack.core.errors import SourceUnreachable


class Reachability:
    """After a failure requests fail at once for `pause` seconds, then one tries; times by `clock`.

    So that a reader of an absent chunk on a box with no network isn't kept waiting.
    """

    def __init__(self, clock: Callable[[], float], pause: float = 2.0) -> None:
        self._clock, self._pause = clock, pause
        self._lock = threading.Lock()
        self._next_try = 0.0
        self.since: float | None = None
        self.unreachable_since: float | None = None
        self.error: SourceUnreachable | None = None

    def succeeded(self) -> None:
        """The source answered."""
        if self.since is not None and self.error is None:
            return
        with self._lock:
            self.since, self.unreachable_since, self.error = self._clock(), None, None

    def failed(self, error: SourceUnreachable) -> None:
        """The source couldn't be reached."""
        with self._lock:
            now = self._clock()
            self.unreachable_since = self.unreachable_since or now
            self.since, self.error, self._next_try = None, error, now + self._pause

    def refusal(self) -> SourceUnreachable | None:
        """The error to answer at once with; None when a request may be tried.

        While the source is unreachable, each None delays the next one by the pause.
        """
        if self.error is None:
            return None
        with self._lock:
            now = self._clock()
            if self.error is None or now >= self._next_try:
                self._next_try = now + self._pause
                return None
            return self.error
