"""Disks that fail, and one that remembers in which order it was written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hardtack.cache.disk import Disk


class FailingDisk(Disk):
    """Raises `OSError(errors[operation])` for the operations that are named there."""

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}

    def _try(self, operation: str) -> None:
        if operation in self.errors:
            raise OSError(self.errors[operation], os.strerror(self.errors[operation]))

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            self._try("open")
        return super().open(path, flags, mode)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self._try("pread")
        return super().pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self._try("pwrite")
        return super().pwrite(fd, data, offset)

    def append(self, fd: int, data: bytes) -> int:
        self._try("append")
        return super().append(fd, data)

    def fdatasync(self, fd: int) -> None:
        self._try("fdatasync")
        super().fdatasync(fd)

    def free(self, path: Path) -> tuple[int, int]:
        self._try("free")
        return super().free(path)


@dataclass(frozen=True)
class Write:
    """One write, or a fdatasync when `data` is empty."""

    path: Path
    data: bytes
    offset: int | None


class RecordingDisk(Disk):
    """Remembers every write in its order."""

    def __init__(self) -> None:
        self.log: list[Write] = []

    def _path(self, fd: int) -> Path:
        return Path(f"/proc/self/fd/{fd}").readlink()

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.log.append(Write(self._path(fd), bytes(data), offset))
        return super().pwrite(fd, data, offset)

    def append(self, fd: int, data: bytes) -> int:
        self.log.append(Write(self._path(fd), bytes(data), None))
        return super().append(fd, data)

    def fdatasync(self, fd: int) -> None:
        self.log.append(Write(self._path(fd), b"", None))
        super().fdatasync(fd)
