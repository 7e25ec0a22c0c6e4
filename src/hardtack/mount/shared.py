"""The memory that outlives a worker: open handles, and requests that were not answered.

It is an anonymous file that the keeper holds and every worker maps. A worker can be killed at any
instruction, so each change ends with one aligned store that makes it valid: a handle's `state`, a
request's length. A change that didn't come so far didn't happen.

Layout, in 4-byte words: a head of one page (MAGIC, LAYOUT, initialised, minor, flags low, flags
high, serial, high-water mark), then HANDLES rows of 8 words (state, serial, inode low and high,
unique low and high, backing id, unused), then SLOTS buffers of READ_BUFFER bytes.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from hardtack.core.errors import FormatError
from hardtack.mount.wire import READ_BUFFER

MAGIC, LAYOUT = 0x4B435448, 1
HANDLES = 1 << 16
SLOTS = 1024
_ROW_WORDS = 8
_HEAD = 4096
_SLOTS_AT = _HEAD + HANDLES * _ROW_WORDS * 4
SIZE = _SLOTS_AT + SLOTS * READ_BUFFER
_INITIALISED, _MINOR, _FLAGS, _SERIAL, _HIGH = 2, 3, 4, 6, 7


class Mode(IntEnum):
    """How an inode is open; an inode has one mode at a time, the kernel refuses the mix."""

    FREE = 0
    CACHED = 1
    PASSTHROUGH = 2


@dataclass(frozen=True, slots=True)
class Handle:
    """One open file. `id` is what the kernel hands back; `unique` the OPEN that made it."""

    id: int
    mode: Mode
    inode: int
    unique: int
    backing: int


def create() -> int:
    """A new shared memory's file descriptor (inheritable only on demand)."""
    fd = os.memfd_create("hardtack")
    os.truncate(fd, SIZE)
    with mmap.mmap(fd, _HEAD) as head:
        words = memoryview(head).cast("I")
        words[0], words[1] = MAGIC, LAYOUT
        words.release()
    return fd


def known(fd: int) -> bool:
    """Whether this version can go on with the shared memory `fd`."""
    head = memoryview(os.pread(fd, 8, 0)).cast("I")
    return head.tolist() == [MAGIC, LAYOUT]


class Shared:
    """A worker's view of the shared memory. Its methods may be called from any thread."""

    def __init__(self, fd: int) -> None:
        """Map `fd`. Raises FormatError when another version's keeper made it."""
        self._fd = fd
        self._bytes = memoryview(mmap.mmap(fd, SIZE))
        self._words = self._bytes.cast("I")
        if (self._words[0], self._words[1]) != (MAGIC, LAYOUT):
            raise FormatError(
                "The keeper's shared memory has a layout that this version doesn't know.",
                remedy="Unmount and mount again.",
            )
        self._lock = threading.Lock()
        self._free: list[int] = []
        for index in range(self._words[_HIGH]):
            if self._words[self._row(index)] == Mode.FREE:
                self._free.append(index)

    @property
    def negotiated(self) -> tuple[int, int] | None:
        """(minor, flags) of the INIT that a worker answered; None before."""
        w = self._words
        return (w[_MINOR], w[_FLAGS] | w[_FLAGS + 1] << 32) if w[_INITIALISED] else None

    @negotiated.setter
    def negotiated(self, value: tuple[int, int]) -> None:
        minor, flags = value
        w = self._words
        w[_MINOR], w[_FLAGS], w[_FLAGS + 1] = minor, flags & 0xFFFFFFFF, flags >> 32
        w[_INITIALISED] = 1

    @staticmethod
    def _row(index: int) -> int:
        return _HEAD // 4 + index * _ROW_WORDS

    def handles(self) -> Iterator[Handle]:
        """Every open handle."""
        for index in range(self._words[_HIGH]):
            handle = self._handle(index)
            if handle is not None:
                yield handle

    def _handle(self, index: int) -> Handle | None:
        at = self._row(index)
        state, serial, ino, ino_high, unique, unique_high, backing, _ = self._words[at : at + 8]
        if state == Mode.FREE:
            return None
        inode, unique = ino | ino_high << 32, unique | unique_high << 32
        return Handle(index | serial << 32, Mode(state), inode, unique, backing)

    def add(self, mode: Mode, inode: int, unique: int, backing: int) -> Handle | None:
        """Remember an open file; None when the table is full."""
        w = self._words
        with self._lock:
            if self._free:
                index = self._free.pop()
            elif w[_HIGH] < HANDLES:
                index = w[_HIGH]
                w[_HIGH] = index + 1
            else:
                return None
            # The serial tells apart two files that used one row, should a RELEASE come twice.
            serial = w[_SERIAL] = (w[_SERIAL] + 1) & 0x7FFFFFFF
        at = self._row(index)
        w[at + 1] = serial
        w[at + 2], w[at + 3] = inode & 0xFFFFFFFF, inode >> 32
        w[at + 4], w[at + 5] = unique & 0xFFFFFFFF, unique >> 32
        w[at + 6] = backing
        w[at] = mode
        return Handle(index | serial << 32, mode, inode, unique, backing)

    def remove(self, id: int) -> Handle | None:
        """Forget an open file; None when it is forgotten already."""
        index = id & 0xFFFFFFFF
        with self._lock:
            handle = self._handle(index) if index < HANDLES else None
            if handle is None or handle.id != id:
                return None
            self._words[self._row(index)] = Mode.FREE
            self._free.append(index)
            return handle

    def slot(self, index: int) -> memoryview:
        """The request buffer `index`; it holds a request while its first word isn't 0."""
        at = _SLOTS_AT + index * READ_BUFFER
        return self._bytes[at : at + READ_BUFFER]

    def filled_slots(self) -> list[int]:
        """The slots that hold a request. Slots never used are holes, and stay holes."""
        found: list[int] = []
        at = _SLOTS_AT
        while at < SIZE:
            try:
                start = os.lseek(self._fd, at, os.SEEK_DATA)
            except OSError as problem:
                if problem.errno != errno.ENXIO:
                    raise
                break  # only holes from here
            at = os.lseek(self._fd, start, os.SEEK_HOLE)
            first, stop = (start - _SLOTS_AT) // READ_BUFFER, -(-(at - _SLOTS_AT) // READ_BUFFER)
            found += (index for index in range(first, stop) if any(self.slot(index)[:4]))
        return found


def _make_present(buffer: memoryview) -> None:
    """Write to each page: the kernel's copy into a page that is not there fails in a dying thread,
    and the request with it (EIO). The length, in the first word, stays as it is.

    A buffer need not begin where a page does: slots don't, where pages have more than 4 KiB.
    """
    for at in range(4, len(buffer), mmap.PAGESIZE):
        buffer[at] = 0
    buffer[-1] = 0


class PrivateBuffers:
    """Buffers of a worker whose kernel sends unanswered requests again."""

    def __init__(self) -> None:
        self._local = threading.local()

    def take(self) -> memoryview:
        """A buffer for the calling thread, to be used until it takes the next."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(READ_BUFFER))
        buffer: memoryview = self._local.buffer
        _make_present(buffer)
        return buffer

    def give_back(self) -> None:
        """The calling thread's buffer got no request."""

    def holds(self, unique: int) -> None:
        """The calling thread's buffer holds request `unique` now."""

    def answered(self, unique: int) -> None:
        """Request `unique` needs no buffer any more."""

    def unanswered(self) -> list[memoryview]:
        """What a dead worker left."""
        return []


class RequestSlots:
    """Buffers in shared memory: a request lies there from its first byte until it is answered."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._free = threading.Condition()
        self._slots = list(range(SLOTS - 1, -1, -1))
        self._taken: dict[int, int] = {}
        self._local = threading.local()
        self._left = shared.filled_slots()
        for index in self._left:
            self._slots.remove(index)

    def take(self) -> memoryview:
        with self._free:
            while not self._slots:
                self._free.wait()
            index = self._local.index = self._slots.pop()
        slot = self._shared.slot(index)
        _make_present(slot)
        return slot

    def give_back(self) -> None:
        self._clear(self._local.index)

    def holds(self, unique: int) -> None:
        with self._free:
            self._taken[unique] = self._local.index

    def answered(self, unique: int) -> None:
        with self._free:
            index = self._taken.pop(unique, None)
        if index is not None:
            self._clear(index)

    def _clear(self, index: int) -> None:
        self._shared.slot(index)[:4].cast("I")[0] = 0
        with self._free:
            self._slots.append(index)
            self._free.notify()

    def unanswered(self) -> list[memoryview]:
        for index in self._left:
            slot = self._shared.slot(index)
            self._taken[slot[8:16].cast("Q")[0]] = index
        return [self._shared.slot(index) for index in self._left]
