"""The threads that decode pictures and run the model, watched for one that hangs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

from hardtack.core.hands import Hands

A = TypeVarTuple("A")
T = TypeVar("T")


class Judging:
    """At most so many pictures at a time; those that wait are taken in the order they came, each by
    the first thread that is free, which needs nobody's leave for it."""

    def __init__(self, at_once: int, fatal: Callable[[BaseException], Any] | None) -> None:
        """`fatal` ends the process where memory is at its end."""
        self._fatal = fatal
        self._marks = itertools.count()
        self._begun: dict[int, float] = {}
        self._hands = Hands(at_once, "picture")

    def widen(self, at_once: int) -> None:
        """Let `at_once` run at a time, where it was fewer."""
        self._hands.most = max(self._hands.most, at_once)

    def longest(self) -> float:
        """Seconds for which the oldest of those that run has run; 0 while none does."""
        now = time.monotonic()
        return now - min(list(self._begun.values()), default=now)

    async def run(self, function: Callable[[*A], T], *args: *A) -> tuple[T, float]:
        """What `function` gives, and the seconds it took. Raises what it raises."""

        def timed() -> tuple[T, float]:
            mark, begun = next(self._marks), time.monotonic()
            self._begun[mark] = begun
            try:
                return function(*args), time.monotonic() - begun
            except MemoryError as error:
                if self._fatal:
                    self._fatal(error)
                raise
            finally:
                del self._begun[mark]

        return await self._hands.run(timed)
