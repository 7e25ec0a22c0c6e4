"""A source that gives a few bytes at a time, and after so many of them none."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hardtack.core.errors import SourceUnreachable
from hardtack.source.api import ByteStream, Checksum, ObjectInfo, Source

STEP = 1000
"""Bytes that are given at once, at most."""


class Trickle:
    """`inner`, of whose objects `most` bytes are given; who asks for more waits until `end` is set,
    and is told that the source can't be reached. `served` bytes were given."""

    def __init__(self, inner: Source, most: int = 1 << 60) -> None:
        self.inner, self.most = inner, most
        self.served = self._waiting = 0
        self.end = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self.inner.url

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        return self.inner.pages()

    @contextmanager
    def stream(self, info: ObjectInfo, start: int, stop: int) -> Iterator[ByteStream]:
        with self.inner.stream(info, start, stop) as inner:
            yield _Stream(self, inner)

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        return self.inner.checksum(info)

    def close(self) -> None:
        self.inner.close()

    def waits_for(self, streams: int) -> bool:
        """Whether so many wait."""
        return self._waiting == streams

    def give(self, asked: int) -> int:
        """The bytes that may be given now. Raises SourceUnreachable."""
        with self._lock:
            count = min(STEP, asked, self.most - self.served)
            self.served += count
            self._waiting += not count
        if not count:
            self.end.wait()
            raise SourceUnreachable("the power was cut")
        return count


class _Stream:
    def __init__(self, source: Trickle, inner: ByteStream) -> None:
        self._source, self._inner = source, inner

    def readinto(self, buffer: memoryview) -> int:
        return self._inner.readinto(buffer[: self._source.give(len(buffer))])
