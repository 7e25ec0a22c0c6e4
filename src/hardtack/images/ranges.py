"""Sets of byte ranges: what of a file is there."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ranges:
    """Disjoint ranges [start, stop), sorted; touching ones are merged."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def add(self, start: int, stop: int) -> None:
        """Include [start, stop)."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def remove(self, start: int, stop: int) -> None:
        """Leave out [start, stop)."""
        kept = [
            part
            for s, e in self
            for part in ((s, min(e, start)), (max(s, stop), e))
            if part[0] < part[1]
        ]
        self._starts = [s for s, _ in kept]
        self._stops = [e for _, e in kept]

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of [start, stop) that aren't included."""
        holes, position = [], start
        for s, e in self:
            if e <= position:
                continue
            if s >= stop:
                break
            if s > position:
                holes.append((position, s))
            position = e
        if position < stop:
            holes.append((position, stop))
        return holes

    def until(self, position: int) -> int:
        """The end of what is included without a gap from `position` on (`position` if nothing)."""
        at = bisect_right(self._starts, position) - 1
        return max(position, self._stops[at]) if at >= 0 else position
