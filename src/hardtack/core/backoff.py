"""How long to wait between attempts, and between rounds of what is done for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random


class Backoff(NamedTuple):
    """Exponential back-off with full jitter: delay n is drawn from [0, min(cap, first * 2^n)].

    Full jitter spreads a fleet that lost its source at the same moment
    (AWS Architecture Blog, "Exponential Backoff and Jitter").
    """

    first: float = 0.1
    cap: float = 20.0

    def delays(self, random_source: random.Random | None = None) -> Iterator[float]:
        """Endless delays in seconds."""
        uniform = (random_source or _system()).uniform
        ceiling = self.first
        while True:
            yield uniform(0, ceiling)
            ceiling = min(self.cap, ceiling * 2)


class Stagger(NamedTuple):
    """Waits of a fleet that must not fall into step: of all boxes that start when the power comes
    back, and then do the same every `interval` seconds.

    No wait is longer than `interval`, so that what is promised of it holds; but a round that takes
    long (a big listing over a thin link) has no more than `share` of the time.
    """

    interval: float
    least: float = 0.75
    first_share: float = 0.5
    first_most: float = 300.0
    share: float = 0.1

    def first(self, random_source: random.Random | None = None) -> float:
        """Seconds before the first round."""
        most = min(self.interval * self.first_share, self.first_most)
        return (random_source or _system()).uniform(0, most)

    def next(self, random_source: random.Random | None = None, *, took: float = 0.0) -> float:
        """Seconds between two rounds, the last of which took `took`."""
        wait = self.interval * (random_source or _system()).uniform(self.least, 1)
        return max(wait, took / self.share - took)


class Pace:
    """The waits between rounds by how long the rounds take. An outage may hold one up for as long
    as it lasts: only two long ones in a row are the link's own pace."""

    def __init__(self, stagger: Stagger) -> None:
        self._stagger = stagger
        self._before = 0.0

    def wait(self, took: float) -> float:
        """Seconds to the next round, after one that took `took`."""
        pace, self._before = min(took, self._before), took
        return self._stagger.next(took=pace)


def _system() -> random.Random:
    import random  # late: it is needed when something failed, or goes on for ever

    return random.Random()
