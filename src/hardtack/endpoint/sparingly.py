"""What fails with each image query, as on a full disk, is told now and then: logs take room too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_QUIET = 60.0


class Sparingly:
    """Tells the first error, then one in a minute, with how many there were. Thread-safe."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._lock = threading.Lock()
        self._untold = 0
        self._next = 0.0

    def error(self, what: str) -> None:
        with self._lock:
            now = self._clock()
            if now < self._next:
                self._untold += 1
                return
            more = f" ({self._untold} more since the last such line)" if self._untold else ""
            self._untold, self._next = 0, now + _QUIET
        self._log.error("%s%s", what, more)
