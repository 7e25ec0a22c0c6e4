"""A source that lives in memory, for tests."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hardtack.core.errors import ObjectChanged, SourceUnreachable
from hardtack.source.api import ByteStream, Checksum, ObjectInfo


class MemorySource:
    """Objects in a dict; `put` and `delete` change it under its readers' feet."""

    def __init__(self, name: str = "memory", *, page_size: int = 1000) -> None:
        self.name = name
        self._page_size = page_size
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        self._closed = False

    @property
    def url(self) -> str:
        return f"memory://{self.name}"

    def put(
        self, key: str, data: bytes, *, etag: str | None = None, mtime_ns: int | None = None
    ) -> ObjectInfo:
        """Store `data` under `key`; the ETag is its MD5 unless given."""
        info = ObjectInfo(
            key=key,
            size=len(data),
            etag=hashlib.md5(data, usedforsecurity=False).hexdigest() if etag is None else etag,
            mtime_ns=time.time_ns() if mtime_ns is None else mtime_ns,
        )
        with self._lock:
            self._objects[key] = (info, data)
        return info

    def delete(self, key: str) -> None:
        """Remove `key`."""
        with self._lock:
            del self._objects[key]

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        with self._lock:
            infos = [self._objects[key][0] for key in sorted(self._objects)]
        for start in range(0, len(infos), self._page_size):
            yield infos[start : start + self._page_size]

    @contextmanager
    def stream(self, info: ObjectInfo, start: int, stop: int) -> Iterator[ByteStream]:
        yield _MemoryStream(self, info, self._same(info), start, stop)

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        return Checksum("sha256", hashlib.sha256(self._same(info)).digest())

    def close(self) -> None:
        self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    def _same(self, info: ObjectInfo) -> bytes:
        with self._lock:
            found = self._objects.get(info.key)
        if found is None:
            raise ObjectChanged(f"{self.url}/{info.key} is gone.")
        if (found[0].etag, found[0].size) != (info.etag, info.size):
            raise ObjectChanged(
                f"{self.url}/{info.key} has ETag {found[0].etag}, not {info.etag}: it was replaced."
            )
        return found[1]


class _MemoryStream:
    def __init__(
        self, source: MemorySource, info: ObjectInfo, data: bytes, start: int, stop: int
    ) -> None:
        self._source, self._info = source, info
        self._rest = memoryview(data)[start:stop]

    def readinto(self, buffer: memoryview) -> int:
        if self._source.closed:
            raise SourceUnreachable(f"{self._source.url} was closed.")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
