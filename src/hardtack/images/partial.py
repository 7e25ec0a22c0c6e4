"""A file that is being put together from ranges, in any order, by several threads, over restarts.

Beside the file lies a journal: fixed records of the ranges that were written (or thrown away). A
killed process loses at most what it had not recorded; after a power cut a recorded range may be
wrong, which the digest of its blob finds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import threading
from pathlib import Path

from hardtack.core.errors import DiskFull
from hardtack.core.units import format_size
from hardtack.images.ranges import Ranges

_RECORD = struct.Struct("<?7xQQ")  # written or thrown away, start, stop
_READ = 1 << 20
NO_KERNEL_COPY = (errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""By which copy_file_range says that it can't copy between these two files."""


class Partial:
    """The file at `path`, `size` bytes when whole, and its journal. Thread-safe."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._journal_path = path.with_name(path.name + ".journal")
        self._lock = threading.Lock()
        self._there = Ranges()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            found = os.fstat(self._fd).st_size
            self._journal = os.open(
                self._journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
            )
        except OSError:
            os.close(self._fd)
            raise
        if found == size:
            self._replay(size)
            return
        if os.fstat(self._journal).st_size:
            os.ftruncate(self._journal, 0)
        if found:
            # Not a file that is empty anyhow: ext4 writes out what was once cut to nothing when it
            # is closed, which would take a sixth of a pull's time.
            os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, size)

    def _replay(self, size: int) -> None:
        records = self._journal_path.read_bytes()
        whole = len(records) // _RECORD.size * _RECORD.size
        os.ftruncate(self._journal, whole)
        for there, start, stop in _RECORD.iter_unpack(records[:whole]):
            if start < stop <= size:
                (self._there.add if there else self._there.remove)(start, stop)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Put `data` at `offset`. Raises DiskFull."""
        view, position = memoryview(data), offset
        try:
            while view:
                count = os.pwrite(self._fd, view, position)
                view, position = view[count:], position + count
            self._record(True, offset, position)
        except OSError as error:
            raise full(self.path, error) from error

    def copy(self, source: int, start: int, offset: int, count: int) -> None:
        """Put `count` bytes from `start` of the open file `source` at `offset`, in the kernel
        where it can. Raises DiskFull; a source that ends early leaves a hole."""
        done = 0
        try:
            while done < count:
                step = min(count - done, 64 << 20)
                moved = os.copy_file_range(source, self._fd, step, start + done, offset + done)
                if moved == 0:
                    break
                done += moved
        except OSError as error:
            if error.errno not in NO_KERNEL_COPY:
                raise full(self.path, error) from error
            while done < count and (
                data := os.pread(source, min(_READ, count - done), start + done)
            ):
                self.write(offset + done, data)
                done += len(data)
        self._record(True, offset, offset + done)

    def forget(self, start: int, stop: int) -> None:
        """What lies in [start, stop) is wrong."""
        self._record(False, start, stop)

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of [start, stop) that haven't been written."""
        with self._lock:
            return self._there.missing(start, stop)

    def until(self, position: int) -> int:
        """The end of what is there without a gap from `position` on."""
        with self._lock:
            return self._there.until(position)

    def read(self, start: int, count: int) -> bytes:
        return os.pread(self._fd, count, start)

    @property
    def fd(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._journal)

    def publish(self, target: Path) -> None:
        """Move the whole file to `target`."""
        os.rename(self.path, target)
        self._journal_path.unlink()

    def remove(self) -> None:
        """Remove the file and its journal."""
        self.path.unlink()
        self._journal_path.unlink()

    def _record(self, there: bool, start: int, stop: int) -> None:
        with self._lock:
            os.write(self._journal, _RECORD.pack(there, start, stop))
            (self._there.add if there else self._there.remove)(start, stop)


class Follower:
    """The SHA-256 of [start, start + size) of a partial file, kept up with what has been written
    without a gap, so that the digest is ready soon after the last byte."""

    def __init__(self, partial: Partial, start: int, size: int) -> None:
        self._partial, self._position, self._stop = partial, start, start + size
        self._hash = hashlib.sha256()
        self._busy = threading.Lock()

    def follow(
        self, offset: int = -1, data: bytes | memoryview = b"", limit: int = 8 << 20
    ) -> None:
        """Take in `data`, just written at `offset`, if it is next, and up to `limit` more bytes,
        unless another thread is at it."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            if offset == self._position:
                self._hash.update(data)
                self._position += len(data)
            self._advance(limit)
        finally:
            self._busy.release()

    def digest(self) -> str:
        """The digest, once all is written."""
        with self._busy:
            self._advance(self._stop - self._position)
            return f"sha256:{self._hash.hexdigest()}"

    def _advance(self, limit: int) -> None:
        stop = min(self._stop, self._partial.until(self._position), self._position + limit)
        while self._position < stop:
            data = self._partial.read(self._position, min(_READ, stop - self._position))
            if not data:
                return
            self._hash.update(data)
            self._position += len(data)


def full(path: Path, error: OSError) -> Exception:
    """`error`, or DiskFull if that is what it means."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    return DiskFull(
        f"{path.parent}: no space left for {path.name}.",
        remedy="Free some and run the command again: it goes on where it stopped.",
    )


def check_space(directory: Path, needed: int) -> None:
    """Raises DiskFull when fewer than `needed` bytes are free for us in `directory`."""
    stat = os.statvfs(directory)
    free = stat.f_bavail * stat.f_frsize
    if needed > free:
        raise DiskFull(
            f"{directory} has {format_size(free)} free; {format_size(needed)} are needed.",
            remedy="Free some space, or choose another directory.",
        )
