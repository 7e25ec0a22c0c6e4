"""A read that waits for chunks."""

from __future__ import annotations

import threading

from hardtack.cache.api import Reply


class Read:
    """Bytes [offset, stop) of an object, gathered from chunks as they arrive; answered once."""

    def __init__(self, offset: int, stop: int, reply: Reply) -> None:
        self.offset, self.stop = offset, stop
        self._reply = reply
        self._lock = threading.Lock()
        self._missing = stop - offset
        self._buffer: bytearray | None = None
        self._done = False

    def arrived(self, start: int, data: memoryview) -> bool:
        """`data` stands at `start` of the object; chunks arrive at most once each.

        Whether all of `data` was asked for.
        """
        first, last = max(start, self.offset), min(start + len(data), self.stop)
        piece = data[first - start : last - start]
        if len(piece) == self.stop - self.offset:
            self._answer(piece)
            return len(piece) == len(data)
        with self._lock:
            if self._buffer is None:
                self._buffer = bytearray(self.stop - self.offset)
            self._buffer[first - self.offset : last - self.offset] = piece
            self._missing -= len(piece)
            whole = self._missing == 0
        if whole:
            self._answer(memoryview(self._buffer))
        return len(piece) == len(data)

    def failed(self, error: BaseException) -> None:
        """A chunk can't be had."""
        self._answer(error)

    def _answer(self, answer: memoryview | BaseException) -> None:
        with self._lock:
            done, self._done = self._done, True
        if not done:
            self._reply(answer)
