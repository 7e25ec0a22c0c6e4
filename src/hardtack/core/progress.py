"""Progress of long work: who does it reports here, the command line shows it."""

from __future__ import annotations

from typing import Protocol

IN_ALL = "in all"
"""The name of a part that sums the others."""


class Progress(Protocol):
    """Told by workers from any thread; implementations must be thread-safe."""

    def task(self, name: str, total: int | None) -> None:
        """Announce a part `name` of `total` bytes (None: not known yet); again to change it."""

    def advance(self, name: str, count: int) -> None:
        """`count` more bytes of `name` are done."""

    def done(self, name: str) -> None:
        """`name` is finished."""


class Quiet:
    """Progress that nobody watches."""

    def task(self, name: str, total: int | None) -> None: ...

    def advance(self, name: str, count: int) -> None: ...

    def done(self, name: str) -> None: ...


class Meter:
    """Rate and time left from samples of the last `window` seconds; no clock inside."""

    def __init__(self, window: float = 10.0) -> None:
        self._window = window
        self._samples: list[tuple[float, int]] = []

    def sample(self, now: float, count: int) -> None:
        """At `now` seconds, `count` bytes are done in all."""
        self._samples.append((now, count))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._window:
            self._samples.pop(0)

    @property
    def rate(self) -> float:
        """Bytes a second; 0.0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (t0, c0), (t1, c1) = self._samples[0], self._samples[-1]
        return (c1 - c0) / (t1 - t0) if t1 > t0 else 0.0

    def seconds_left(self, total: int) -> float | None:
        """Seconds until `total` at this rate; None when nothing moves."""
        if not self._samples or self.rate <= 0:
            return None
        return max(0.0, (total - self._samples[-1][1]) / self.rate)
