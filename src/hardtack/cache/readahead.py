"""How far to fetch ahead of readers, and which range to ask for next. Pure; counts in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MAX_CURSORS = 16
EARLY = 4
"""Chunks by which a read may come before its turn: the kernel sends some at once, and more than
one thread receives them."""


@dataclass(eq=False)
class _Cursor:
    next: int  # the chunk that a sequential reader touches next
    window: int = 0
    told: int = 0  # where what was to be fetched ahead ends
    early: set[int] = field(default_factory=set)  # chunks past `next` that were read already

    def go_on(self, stop: int) -> None:
        self.next = stop
        while self.next in self.early:
            self.early.remove(self.next)
            self.next += 1


class ReadAhead:
    """Finds the sequential readers of one object; their windows double up to `limit`.

    A reader that goes from one chunk to the next gets read-ahead; one that jumps gets none. It is
    told a quarter of the window at once, so that there are few requests, and long ones.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._cursors: list[_Cursor] = []

    def touch(self, first: int, last: int) -> tuple[int, int] | None:
        """Chunks [first, last] are read: the range [start, stop) to fetch ahead, if any."""
        for cursor in self._cursors:
            if cursor.next - 1 <= first <= cursor.next:
                return self._go_on(cursor, last + 1)
        for cursor in self._cursors:
            if cursor.next < first <= cursor.next + EARLY:
                cursor.early.update(range(first, last + 1))
                return None
        self._cursors.append(_Cursor(last + 1))
        del self._cursors[:-MAX_CURSORS]
        return None

    def _go_on(self, cursor: _Cursor, stop: int) -> tuple[int, int] | None:
        if stop <= cursor.next:
            return None  # still within its last chunk
        cursor.go_on(stop)
        cursor.window = min(self._limit, max(1, cursor.window * 2))
        self._cursors.remove(cursor)
        self._cursors.append(cursor)
        ahead = cursor.next + cursor.window
        if ahead - cursor.told < cursor.window // 4:
            return None
        cursor.told = ahead
        return cursor.next, ahead


def grow(start: int, chunks: int, limit: int, wanted: Callable[[int], bool]) -> int:
    """The end of the range from `start`: as far as chunks are wanted, at most `limit` of them."""
    stop = start + 1
    while stop < chunks and stop - start < limit and wanted(stop):
        stop += 1
    return stop


def first_hole(ranges: Iterable[list[int]], busy: Callable[[int], bool]) -> int | None:
    """The first chunk in `ranges` ([start, stop] each) that isn't `busy` (there or on its way).

    Moves each range's start past the chunks that were found busy.
    """
    for span in ranges:
        while span[0] < span[1]:
            if not busy(span[0]):
                return span[0]
            span[0] += 1
    return None
