"""How long to wait between attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off with full jitter: delay n is drawn from [0, min(cap, first * 2^n)].

    Full jitter spreads a fleet that lost its source at the same moment
    (AWS Architecture Blog, "Exponential Backoff and Jitter").
    """

    first: float = 0.1
    cap: float = 20.0

    def delays(self, random_source: random.Random | None = None) -> Iterator[float]:
        """Endless delays in seconds."""
        uniform = (random_source or random).uniform
        ceiling = self.first
        while True:
            yield uniform(0, ceiling)
            ceiling = min(self.cap, ceiling * 2)
