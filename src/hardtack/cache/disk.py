"""The operating system's files behind a seam, so that a test can make any call fail."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class Disk:
    """Plain system calls; each raises OSError."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def append(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def read_exactly(self, fd: int) -> None:
        """No read-ahead: only the pages that are asked for come into the page cache."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

    def read_ahead(self, fd: int) -> None:
        """As the kernel likes, in large pieces, which mapped readers find faster too."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_NORMAL)

    def reserve(self, fd: int, offset: int, size: int) -> None:
        """Give a range of the file its place on the disk; what was written there stays."""
        _fallocate(fd, _KEEP_SIZE, offset, size)

    def give_back(self, fd: int, offset: int, size: int) -> None:
        """Take a range's place on the disk away, with its bytes."""
        _fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, size)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def free(self, path: Path) -> tuple[int, int]:
        """(bytes free for this user, bytes in all) of the file system that holds `path`."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _fallocate(fd: int, mode: int, offset: int, size: int) -> None:
    """The system call itself: where a file system has none, glibc's emulation would write."""
    place = ctypes.c_int64(offset), ctypes.c_int64(size)
    if _LIBC.fallocate(fd, mode, *place) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class OpenFile:
    """A descriptor that is closed when the last one who reads from it lets go."""

    def __init__(self, disk: Disk, path: Path, flags: int, mode: int = 0o600) -> None:
        self._disk = disk
        self.fd = -1
        self.fd = disk.open(path, flags, mode)

    def __del__(self) -> None:
        if self.fd >= 0:
            self._disk.close(self.fd)
