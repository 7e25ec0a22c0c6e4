"""One object's bytes on disk: a sparse file that is exactly the object, and its chunk map.

Order of writing: chunk → fdatasync → record; so after a crash a chunk either has a valid record
or is a hole. Of a chunk that comes slowly the part that came has a record too, in the same order.
See docs/formats/content.md.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import xxhash

from hardtack.cache.chunkmap import (
    RECORD_SIZE,
    DamagedMap,
    Header,
    Identity,
    Part,
    pack_header,
    pack_hole,
    pack_part,
    pack_record,
    unpack_header,
    unpack_holes,
    unpack_parts,
    unpack_records,
)
from hardtack.cache.disk import Disk, OpenFile
from hardtack.core.errors import CacheError, DiskFull, FormatError

log = logging.getLogger(__name__)

Fingerprint = tuple[int, int, int, int]
"""(inode, size, mtime in ns, ctime in ns): holds while nobody touches the file."""


def fingerprint_of(found: os.stat_result) -> Fingerprint:
    """Of a file that was looked at."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


_ROOM = "Free some space on its disk."
_OPENABLE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EMFILE: "Let this process open more files: ulimit -n 1024.",
}

LASTING = 1.0
"""Seconds of records that a power cut may take, while more of them come."""

ALIGNED = 4096
"""What offset and length of a write past the page cache are multiples of."""


def checksum(data: bytes | memoryview) -> int:
    """The xxh3_64 of a chunk."""
    return xxhash.xxh3_64_intdigest(data)


def data_path(directory: Path, id: str) -> Path:
    """The content file of `id`; its map stands beside it as `.map`."""
    return directory / "content" / id[:2] / f"{id}.data"


class ContentFile:
    """An object's content, open. Chunks in `sums` can be read from `data`.

    `checked` are the chunks whose bytes were compared in this process; with a `seal` all were, now
    or earlier, and the seal is the file's fingerprint then. `bad` are those that were damaged and
    haven't been fetched anew since, in this process or an earlier one: the map remembers them.
    `parts` are the starts of holes that broke off. Not thread-safe beyond single assignments;
    `lock` guards what takes more. Who holds the content is called back: `unseal` when it is no
    longer what was sealed, `lost` with the bytes of a chunk that went bad and those still there.
    """

    def __init__(
        self, disk: Disk, directory: Path, id: str, identity: Identity, chunk_size: int
    ) -> None:
        self.id, self.disk, self.path = id, disk, data_path(directory, id)
        self.lock = threading.Lock()
        self._direct: OpenFile | None = None
        self._writing = threading.Lock()  # the kernel lets one write at a time, and spins
        self.gone = False
        self.seal: Fingerprint | None = None
        self.unseal: Callable[[], None] = lambda: None
        self.lost: Callable[[int, int], None] = lambda _count, _present: None
        self.checked: set[int] = set()
        self.bad: set[int] = set()
        self.parts: dict[int, Part] = {}
        self._lasting_since = -LASTING
        try:
            self._open(Header(chunk_size, identity))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (DiskFull if full else CacheError)(
                f"the cached content of {identity.key} ({self.path}) can't be opened:"
                f" {error.strerror}.",
                remedy=_OPENABLE.get(
                    error.errno or 0,
                    "Check that the cache directory is there, writable, and its disk sound.",
                ),
            ) from error
        self.recorded = set(self.sums)

    def _open(self, fresh: Header) -> None:
        flags = os.O_RDWR | os.O_CREAT
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self.data = OpenFile(self.disk, self.path, flags)
            self.map = OpenFile(self.disk, self.path.with_suffix(".map"), flags | os.O_APPEND)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            self.data = OpenFile(self.disk, self.path, os.O_RDONLY)
            self.map = OpenFile(self.disk, self.path.with_suffix(".map"), os.O_RDONLY)
        # no page of a hole may be in the page cache when the chunk is written past it
        self.disk.read_exactly(self.data.fd)
        found = self.disk.fstat(self.map.fd).st_size
        text = self.disk.pread(self.map.fd, found, 0) if found else b""
        try:
            self.header, length = unpack_header(text)
            if self.header.identity.size != fresh.identity.size:
                raise DamagedMap("it is of an object of another size")
        except FormatError as error:
            raise FormatError(f"{self.path}: {error.message}", remedy=error.remedy) from None
        except DamagedMap as why:
            if found:
                log.warning("the chunk map of %s is begun anew: %s", fresh.identity.key, why)
            self.disk.ftruncate(self.map.fd, 0)
            self.header, self.sums = fresh, {}
            self.disk.append(self.map.fd, pack_header(fresh))
        else:
            self.sums = unpack_records(text[length:], self.header.chunks)
            self.bad = unpack_holes(text[length:], self.header.chunks)
            self.parts = unpack_parts(text[length:], self.header.chunks)
            if torn := (len(text) - length) % RECORD_SIZE:
                self.disk.ftruncate(self.map.fd, len(text) - torn)
        if self.disk.fstat(self.data.fd).st_size != self.header.identity.size:
            self.disk.ftruncate(self.data.fd, self.header.identity.size)

    @property
    def trusted(self) -> bool:
        """Whether every chunk was compared, as far as is known."""
        return self.seal is not None

    @property
    def complete(self) -> bool:
        """Whether every chunk is there."""
        return len(self.sums) == self.header.chunks

    @property
    def present(self) -> int:
        """Bytes that are there for good: they outlive this process."""
        return self.bytes_of(self.recorded)

    def bytes_of(self, chunks: Collection[int]) -> int:
        """Bytes of `chunks` together."""
        last = self.header.chunks - 1
        if last in chunks:
            return (len(chunks) - 1) * self.header.chunk_size + self.header.length_of(last)
        return len(chunks) * self.header.chunk_size

    def fingerprint(self) -> Fingerprint:
        """The data file's fingerprint now."""
        return fingerprint_of(self.disk.fstat(self.data.fd))

    def ready(self, chunk: int) -> bool:
        """Whether `chunk` is there and good; checks its bytes at the first touch."""
        if chunk not in self.sums:
            return False
        return self.trusted or chunk in self.checked or self.check(chunk)

    def check(self, chunk: int) -> bool:
        """Compare a chunk's bytes with its checksum; a bad one becomes a hole."""
        expected = self.sums.get(chunk)
        if expected is None:
            return False
        length = self.header.length_of(chunk)
        try:
            data = self.read(chunk * self.header.chunk_size, length)
        except OSError as error:
            log.warning("chunk %d of %s: %s", chunk, self.header.identity.key, error.strerror)
            data = b""
        if len(data) == length and checksum(data) == expected:
            self.checked.add(chunk)
            return True
        self.punch(chunk)
        return False

    def punch(self, chunk: int) -> None:
        """Make a bad chunk a hole again, for good."""
        with self.lock:
            if self.sums.pop(chunk, None) is None:
                return
            self.seal = None
            self.unseal()  # first of all: a seal vouches for bytes without a record
            self.checked.discard(chunk)
            self.recorded.discard(chunk)
            self.bad.add(chunk)
            log.warning("chunk %d of %s is damaged on disk", chunk, self.header.identity.key)
            self._remember_holes([chunk])
        self.lost(self.header.length_of(chunk), self.present)

    def lose(self) -> None:
        """It was whole once: each chunk that isn't there counts as damaged, for good."""
        with self.lock:
            lost = {chunk for chunk in range(self.header.chunks) if chunk not in self.sums}
            self._remember_holes(sorted(lost - self.bad))
            self.bad |= lost

    def _remember_holes(self, chunks: list[int]) -> None:
        try:
            self._append(b"".join(map(pack_hole, chunks)))
        except OSError as error:  # found again at the next start
            log.warning("%s can't be written: %s", self.path, error.strerror)

    def remake_records(self) -> None:
        """Give lost records back to chunks whose bytes are known to be good.

        Raises OSError where they can't be read; where the map can't be written the seal vouches.
        """
        lost = [chunk for chunk in range(self.header.chunks) if chunk not in self.sums]
        for chunk in lost:
            offset = chunk * self.header.chunk_size
            self.land(chunk, checksum(self.read(offset, self.header.length_of(chunk))))
        if not lost:
            return
        try:
            self.record(lost)
        except OSError as error:
            log.warning("%s can't be written: %s", self.path.with_suffix(".map"), error.strerror)
            self.recorded.update(lost)

    def distrust(self) -> None:
        """Compare every chunk anew at its next touch."""
        self.seal = None
        self.checked.clear()

    def notice(self) -> None:
        """Trust it no longer when somebody touched its file since it was sealed."""
        if self.seal is not None and self.fingerprint() != self.seal:
            self.distrust()

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the data file; short when the file was truncated. Raises OSError."""
        data = self.disk.pread(self.data.fd, size, offset)
        while 0 < len(data) < size:
            more = self.disk.pread(self.data.fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, chunk: int, data: memoryview, *, direct: bool = False) -> None:
        """Write a chunk's bytes; they count when `land` says so. Raises OSError.

        With `direct` past the page cache, where the file system can; `data` starts at a page.
        """
        offset = chunk * self.header.chunk_size
        whole = offset % ALIGNED == len(data) % ALIGNED == 0
        cached = chunk in self.bad or chunk in self.parts  # readers may have a bad one mapped
        if direct and whole and not cached:
            count = self._write_direct(data, offset)
            data, offset = data[count:], offset + count
        self._write_cached(data, offset)

    def _write_cached(self, data: memoryview, offset: int) -> None:
        with self._writing:
            while len(data):
                count = self.disk.pwrite(self.data.fd, data, offset)
                data, offset = data[count:], offset + count

    def keep_part(self, chunk: int, data: memoryview, kept: int) -> None:
        """Make `data`, the start of a hole, last; its first `kept` bytes do. Raises OSError."""
        self._write_cached(data[kept:], chunk * self.header.chunk_size + kept)
        part = Part(len(data), checksum(data) & 0xFFFFFFFF)
        self.disk.fdatasync(self.data.fd)
        with self.lock:
            self._append(pack_part(chunk, part))
        self._make_records_last()
        self.parts[chunk] = part

    def part_of(self, chunk: int) -> bytes:
        """The bytes that are there of a hole, compared with their checksum; mostly none."""
        part = self.parts.get(chunk)
        if part is None:
            return b""
        with contextlib.suppress(OSError):  # then it is fetched from its start
            data = self.read(chunk * self.header.chunk_size, part.length)
            if len(data) == part.length and checksum(data) & 0xFFFFFFFF == part.checksum:
                return data
        log.warning("what came of chunk %d of %s is lost", chunk, self.header.identity.key)
        return b""

    def reserve(self, start: int, stop: int) -> bool:
        """Give chunks [start, stop), all of them holes, their place; whether the disk did.

        Into a hole the kernel lets one write past the page cache at a time; into a place, several.
        """
        with contextlib.suppress(OSError):  # the file system can't, or the writes will tell why
            self.disk.reserve(self.data.fd, *self._range(start, stop))
            return True
        return False

    def give_back(self, start: int, stop: int) -> None:
        """Chunks [start, stop), all of them holes, have no place any more."""
        with contextlib.suppress(OSError):  # it stays reserved until they are fetched
            self.disk.give_back(self.data.fd, *self._range(start, stop))

    def _range(self, start: int, stop: int) -> tuple[int, int]:
        """Offset and length of chunks [start, stop)."""
        size = self.header.chunk_size
        return start * size, min(stop * size, self.header.identity.size) - start * size

    def _write_direct(self, data: memoryview, offset: int) -> int:
        """The bytes written; 0 where the file system can't."""
        try:
            with self.lock:  # opened once: a second one would close the first under its writer
                if self._direct is None:
                    self._direct = OpenFile(self.disk, self.path, os.O_WRONLY | os.O_DIRECT)
            return self.disk.pwrite(self._direct.fd, data, offset)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return 0

    def land(self, chunk: int, total: int) -> None:
        """The chunk's bytes are in the data file, and were good when they were written."""
        self.checked.add(chunk)
        self.bad.discard(chunk)
        self.parts.pop(chunk, None)
        self.sums[chunk] = total

    def record(self, chunks: list[int]) -> None:
        """Make landed chunks last: fdatasync, then their records. Raises OSError."""
        self.disk.fdatasync(self.data.fd)
        with self.lock:
            alive = [chunk for chunk in chunks if chunk in self.sums]
            if alive:
                self._append(b"".join(pack_record(chunk, self.sums[chunk]) for chunk in alive))
            self.recorded.update(alive)
        if not self.complete:  # else its seal follows at once, which makes them last
            self._make_records_last()

    def _append(self, records: bytes) -> None:
        """With the lock: the start of a record that broke off would put the next out of step."""
        count = self.disk.append(self.map.fd, records)
        if count != len(records):
            end = self.disk.fstat(self.map.fd).st_size
            self.disk.ftruncate(self.map.fd, end - count % RECORD_SIZE)
            raise OSError(errno.ENOSPC, "short write", str(self.path))

    def _make_records_last(self) -> None:
        now = time.monotonic()
        if now - self._lasting_since >= LASTING:
            self._lasting_since = now
            self.disk.fdatasync(self.map.fd)


class PassingContent(ContentFile):
    """A content of which nothing can be kept, as the cache's disk takes no new one: all of it comes
    from the source, each time."""

    def _open(self, fresh: Header) -> None:
        self.header, self.sums, self.gone = fresh, {}, True
