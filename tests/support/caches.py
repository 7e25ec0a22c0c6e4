"""A cache over a source in memory, and reads that wait."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

from hardtack.cache.api import Entry, Options
from hardtack.cache.cache import Cache
from hardtack.cache.disk import Disk
from hardtack.cache.keys import info_of
from hardtack.core.errors import SourceUnreachable
from hardtack.source.api import Source
from hardtack.source.scripted import Fault, ScriptedSource

SMALL = Options(chunk_size=4096, max_request=16384, keep_free=0, scrub_rate=0)
"""Chunks so small that a test object has many."""


def bytes_of(size: int, seed: int = 0) -> bytes:
    """`size` bytes that are the same each time."""
    return random.Random(seed).randbytes(size)


DATA = bytes_of(50_000)
"""What the fixture `source` of the cache's tests holds as a.bin, and backwards as b.bin."""


@contextlib.contextmanager
def opened(
    directory: Path, source: Source, options: Options = SMALL, disk: Disk | None = None
) -> Iterator[Cache]:
    """An open cache, closed at the end."""
    cache = Cache.open(directory, source, options, purpose="a test", disk=disk)
    try:
        yield cache
    finally:
        cache.close()


def find(cache: Cache, path: str) -> Entry:
    """The entry at `path` in the current view."""
    entry = cache.entry(1)
    for name in path.split("/"):
        assert entry is not None
        entry = cache.lookup(entry.id, name)
    assert entry is not None, path
    return entry


@contextlib.contextmanager
def cut(source: ScriptedSource) -> Iterator[None]:
    """No network meanwhile."""
    gone = SourceUnreachable("cut")
    operations = ("stream", "pages", "checksum")
    source.script(*(Fault(operation=o, times=None, error=gone) for o in operations))
    yield
    source.script()


class Answer:
    """A `Reply` that can be waited for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._answer: bytes | BaseException = b""
        self.count = 0

    def __call__(self, answer: memoryview | BaseException) -> None:
        self.count += 1
        self._answer = answer if isinstance(answer, BaseException) else bytes(answer)
        self._event.set()

    def result(self) -> bytes:
        """The bytes, once they are there; raises the error that came instead."""
        assert self._event.wait(30), "no reply"
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


def read(cache: Cache, entry: Entry, offset: int = 0, size: int | None = None) -> bytes:
    """Bytes of `entry`, waited for."""
    answer = Answer()
    cache.read(entry, offset, entry.size if size is None else size, answer)
    return answer.result()


def settle(cache: Cache, entry: Entry) -> None:
    """Fetch what is left of `entry`, and wait until it is recorded and sealed."""
    content = cache.content(entry)
    done = threading.Event()
    cache.downloader.fetch(content, info_of(entry), lambda _: done.set())
    assert done.wait(30)
    cache.store.flush()
    if not content.trusted:
        assert cache.store.sealer.seal(content).result()
