"""Chunks in memory: the buffers that fetching fills, and what of them is still wanted.

A chunk that was fetched ahead of its reader is answered from memory, so that a file isn't read
back while it is being written. Buffers are used again, the last one first: its pages are there,
and in the processor's caches. They lie in huge pages, where the kernel has them: who receives,
writes and answers looks up each page of a buffer.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading
from collections import OrderedDict

LIMIT = 32 << 20
"""Bytes of chunks that are kept, at most."""

HUGE = 2 << 20
"""Bytes of a huge page (of x86-64, and of arm64 with pages of 4 KiB)."""

Key = tuple[str, int]
"""(content id, chunk)."""


class Piece:
    """One buffer. It is free when nobody uses it; `Pieces` counts."""

    __slots__ = ("buffer", "users")

    def __init__(self, buffer: memoryview) -> None:
        self.buffer = buffer
        self.users = 0


def fresh(size: int) -> list[Piece]:
    """New buffers of `size` bytes, each from a page's start: as many as a huge page holds."""
    if HUGE % size or size % mmap.PAGESIZE:
        return [Piece(memoryview(mmap.mmap(-1, size)))]
    pages = mmap.mmap(-1, 2 * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(pages)) % HUGE
    with contextlib.suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_HUGEPAGE, start, HUGE)
    return [Piece(memoryview(pages)[at : at + size]) for at in range(start, start + HUGE, size)]


class Pieces:
    """All buffers of a cache. Thread-safe."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Piece] = OrderedDict()
        self._free: list[Piece] = []
        self._kept_bytes = 0

    def take(self, size: int) -> Piece:
        """A buffer of `size` bytes, used by the caller until `release`."""
        with self._lock:
            while self._free and len(self._free[-1].buffer) != size:
                self._free.pop()
            self._free = self._free or fresh(size)
            piece = self._free.pop()
            piece.users = 1
            return piece

    def release(self, piece: Piece) -> None:
        """The caller uses `piece` no more."""
        with self._lock:
            self._drop(piece)

    def keep(self, key: Key, piece: Piece) -> None:
        """`piece` holds chunk `key`: keep it for who reads it next."""
        with self._lock:
            piece.users += 1
            self._pop(key)
            self._kept[key] = piece
            self._kept_bytes += len(piece.buffer)
            while self._kept_bytes > self._limit:
                self._pop(next(iter(self._kept)))

    def borrow(self, key: Key, *, last: bool = False) -> Piece | None:
        """The buffer that holds `key`, used by the caller until `release`; with `last` nobody
        else will ask for it."""
        with self._lock:
            piece = self._kept.get(key)
            if piece is not None:
                piece.users += 1
                if last:
                    self._pop(key)
            return piece

    def forget(self, id: str) -> None:
        """What is kept of content `id` was wrong."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == id]:
                self._pop(key)

    def trim(self) -> None:
        """Give the memory back: nothing is being fetched."""
        with self._lock:
            for key in list(self._kept):
                self._pop(key)
            self._free.clear()

    def _pop(self, key: Key) -> None:
        piece = self._kept.pop(key, None)
        if piece is not None:
            self._kept_bytes -= len(piece.buffer)
            self._drop(piece)

    def _drop(self, piece: Piece) -> None:
        piece.users -= 1
        if not piece.users:
            self._free.append(piece)
