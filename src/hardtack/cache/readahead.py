"""How far to fetch ahead of readers, and which range to ask for next. Pure; counts in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

MAX_CURSORS = 16


@dataclass
class _Cursor:
    next: int  # the chunk that a sequential reader touches next
    window: int


class ReadAhead:
    """Finds the sequential readers of one object; their windows double up to `limit`.

    A reader that goes from one chunk to the next gets read-ahead; one that jumps gets none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._cursors: list[_Cursor] = []

    def touch(self, first: int, last: int) -> tuple[int, int] | None:
        """Chunks [first, last] are read: the range [start, stop) to fetch ahead, if any."""
        for cursor in self._cursors:
            if last < cursor.next and first >= cursor.next - 1:
                return None  # still within its last chunk
            if cursor.next - 1 <= first <= cursor.next:
                cursor.window = min(self._limit, max(1, cursor.window * 2))
                cursor.next = last + 1
                self._cursors.remove(cursor)
                self._cursors.append(cursor)
                return last + 1, last + 1 + cursor.window
        self._cursors.append(_Cursor(last + 1, 0))
        del self._cursors[:-MAX_CURSORS]
        return None


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
