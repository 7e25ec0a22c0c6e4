"""A local directory as a source."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hardtack.core.errors import (
    AccessDenied,
    NotFound,
    ObjectChanged,
    SourceError,
    SourceUnreachable,
)
from hardtack.source.api import ByteStream, Checksum, ObjectInfo

_PAGE = 1000


class FileSource:
    """The regular files below `directory`. Links are followed to files, never to directories.

    The ETag is made of size, modification time and inode: a file written anew has another.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._closed = False

    @property
    def url(self) -> str:
        return self._directory.as_uri()

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        if not self._directory.is_dir():
            raise NotFound(f"There is no directory {self._directory}.")
        page: list[ObjectInfo] = []
        for path in self._walk():
            try:
                found = os.stat(path)
            except FileNotFoundError:
                continue  # deleted since, or a link to nowhere
            if stat.S_ISREG(found.st_mode):
                page.append(_info(os.path.relpath(path, self._directory), found))
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    @contextmanager
    def stream(self, info: ObjectInfo, start: int, stop: int) -> Iterator[ByteStream]:
        fd = self._open(info)
        try:
            yield _FileStream(self, fd, info, start, stop)
        finally:
            os.close(fd)

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        os.close(self._open(info))
        return None

    def close(self) -> None:
        self._closed = True

    def check(self, fd: int, info: ObjectInfo) -> None:
        """That the open file is still `info`. Raises ObjectChanged."""
        found = os.fstat(fd)
        if _etag(found) != info.etag or found.st_nlink == 0:
            raise ObjectChanged(f"{self._directory / info.key} was replaced or written to.")

    @property
    def closed(self) -> bool:
        return self._closed

    def _walk(self) -> Iterator[str]:
        for directory, below, names in os.walk(self._directory, onerror=_refuse):
            below.sort()
            for name in sorted(names):
                yield os.path.join(directory, name)

    def _open(self, info: ObjectInfo) -> int:
        path = self._directory / info.key
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectChanged(f"{path} is gone.") from error
        except OSError as error:
            raise _refusal(error) from error
        try:
            self.check(fd, info)
        except BaseException:
            os.close(fd)
            raise
        return fd


class _FileStream:
    def __init__(
        self, source: FileSource, fd: int, info: ObjectInfo, start: int, stop: int
    ) -> None:
        self._source, self._fd, self._info = source, fd, info
        self._at, self._stop = start, stop

    def readinto(self, buffer: memoryview) -> int:
        if self._source.closed:
            raise SourceUnreachable(f"{self._source.url} was closed.")
        view = buffer[: self._stop - self._at]
        if not view:
            return 0
        try:
            count = os.preadv(self._fd, [view], self._at)
        except OSError as error:
            raise _refusal(error) from error
        # after the read, so that what was read is of the version that the check sees
        self._source.check(self._fd, self._info)
        if count == 0:
            raise ObjectChanged(f"{self._source.url}/{self._info.key} is shorter than it was.")
        self._at += count
        return count


def _refuse(error: OSError) -> None:
    """For os.walk: a directory that was deleted while it was listed is no error."""
    if not isinstance(error, FileNotFoundError):
        raise _refusal(error) from error


def _refusal(error: OSError) -> SourceError:
    kind = AccessDenied if isinstance(error, PermissionError) else SourceError
    return kind(f"{error.filename} can't be read: {error.strerror}.")


def _etag(found: os.stat_result) -> str:
    return f"{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ino:x}"


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, _etag(found), found.st_mtime_ns)
