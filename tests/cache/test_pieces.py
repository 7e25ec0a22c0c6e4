"""Chunks in memory, and whether they are written past the page cache."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from pathlib import Path

from hardtack.cache.chunkmap import Identity
from hardtack.cache.content import ContentFile
from hardtack.cache.disk import Disk
from hardtack.cache.pace import SLOW, Pace
from hardtack.cache.pieces import Pieces

SIZE = 4096
MIB = 1 << 20


def _kept(pieces: Pieces, name: str, chunk: int) -> None:
    piece = pieces.take(SIZE)
    piece.buffer[:] = bytes([chunk]) * SIZE
    pieces.keep((name, chunk), piece)
    pieces.release(piece)


def test_a_borrowed_piece_keeps_its_bytes() -> None:
    """Whatever else is fetched meanwhile; afterwards its buffer is used again."""
    pieces = Pieces(limit=2 * SIZE)
    _kept(pieces, "a", 1)
    borrowed = pieces.borrow(("a", 1))
    assert borrowed is not None
    for chunk in (2, 3, 4):
        _kept(pieces, "a", chunk)
    assert pieces.borrow(("a", 1)) is None
    assert bytes(borrowed.buffer) == b"\1" * SIZE
    pieces.release(borrowed)
    assert pieces.take(SIZE) is borrowed


def test_the_last_reader_takes_the_piece() -> None:
    pieces = Pieces()
    _kept(pieces, "a", 1)
    borrowed = pieces.borrow(("a", 1), last=True)
    assert borrowed is not None and bytes(borrowed.buffer) == b"\1" * SIZE
    assert pieces.borrow(("a", 1)) is None


def test_wrong_pieces_are_forgotten_and_idle_ones_given_back() -> None:
    pieces = Pieces()
    for name in ("a", "b"):
        _kept(pieces, name, 1)
    pieces.forget("a")
    assert pieces.borrow(("a", 1)) is None
    found = pieces.borrow(("b", 1))
    assert found is not None
    pieces.trim()
    assert pieces.borrow(("b", 1)) is None
    assert bytes(found.buffer) == b"\1" * SIZE


def test_buffers_start_at_a_page_and_lie_beside_each_other_not_over() -> None:
    for size in (MIB, SIZE, 3 * MIB, 8 * MIB, 1000):
        pieces = Pieces()
        taken = [pieces.take(size) for _ in range(5)]
        for number, piece in enumerate(taken):
            assert len(piece.buffer) == size
            assert ctypes.addressof(ctypes.c_char.from_buffer(piece.buffer)) % mmap.PAGESIZE == 0
            piece.buffer[:] = bytes([number]) * size
        assert [bytes(piece.buffer) for piece in taken] == [bytes([n]) * size for n in range(5)]


def test_a_slow_disk_is_written_through_the_page_cache() -> None:
    pace = Pace()
    assert pace.direct
    for _ in range(100):
        pace.received(MIB, SLOW * MIB / 4)
        pace.written(MIB, SLOW * MIB * 4)
    assert not pace.direct
    for _ in range(100):
        pace.received(MIB, SLOW * MIB * 40)  # a link that is slower still
    assert pace.direct
    for _ in range(100):
        pace.received(MIB, 0.0)
        pace.written(MIB, SLOW * MIB / 2)
    assert pace.direct


class NoDirect(Disk):
    """A file system that knows no O_DIRECT, from the open or only from the first write on."""

    def __init__(self, at_open: bool) -> None:
        self._at_open = at_open
        self._direct: set[int] = set()

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_DIRECT and self._at_open:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fd = super().open(path, flags & ~os.O_DIRECT, mode)
        if flags & os.O_DIRECT:
            self._direct.add(fd)
        return fd

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if fd in self._direct:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().pwrite(fd, data, offset)


def _written(disk: Disk, directory: Path) -> bytes:
    (directory / "content").mkdir(parents=True)
    size = 2 * MIB + 5
    content = ContentFile(disk, directory, "ab", Identity("s", "k", "e", size), MIB)
    pieces = Pieces()
    for chunk in (1, 0, 2):
        piece = pieces.take(MIB)
        piece.buffer[:] = bytes([65 + chunk]) * MIB
        content.write(chunk, piece.buffer[: content.header.length_of(chunk)], direct=True)
        assert content.read(chunk * MIB, 5) == bytes([65 + chunk]) * 5
    return content.path.read_bytes()


def test_what_is_written_past_the_page_cache_is_read_back(tmp_path: Path) -> None:
    """Where the file system can, where it can't, and of an object that ends in mid-page."""
    expected = b"A" * MIB + b"B" * MIB + b"C" * 5
    for number, disk in enumerate((Disk(), NoDirect(at_open=True), NoDirect(at_open=False))):
        assert _written(disk, tmp_path / str(number)) == expected


class NoPlaces(Disk):
    """A file system that can't reserve."""

    def reserve(self, fd: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_a_place_on_disk_is_given_and_taken_back(tmp_path: Path) -> None:
    """Neither changes the file's size, nor a byte of the chunks beside it."""
    (tmp_path / "content").mkdir()
    content = ContentFile(Disk(), tmp_path, "ab", Identity("s", "k", "e", 3 * MIB + 5), MIB)
    content.write(0, memoryview(b"A" * MIB))
    assert content.reserve(0, 4)
    content.disk.fdatasync(content.data.fd)
    assert content.disk.fstat(content.data.fd).st_blocks * 512 >= 3 * MIB + 5
    assert content.read(0, MIB) == b"A" * MIB and content.read(MIB, MIB) == bytes(MIB)
    content.give_back(1, 4)
    found = content.disk.fstat(content.data.fd)
    assert found.st_size == 3 * MIB + 5 and found.st_blocks * 512 < 2 * MIB
    assert content.read(0, MIB) == b"A" * MIB


def test_without_places_chunks_are_written_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    content = ContentFile(NoPlaces(), tmp_path, "ab", Identity("s", "k", "e", MIB), MIB)
    assert not content.reserve(0, 1)
    content.write(0, memoryview(b"A" * MIB))
    assert content.read(0, MIB) == b"A" * MIB


class _Opened(Disk):
    """While the first file past the page cache is being opened, `meanwhile` is done beside it."""

    def __init__(self) -> None:
        self.count = 0
        self.meanwhile = threading.Thread()

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        if flags & os.O_DIRECT:
            self.count += 1
            if self.count == 1:
                self.meanwhile.start()
                self.meanwhile.join(0.2)  # it waits for us, if all is well
        return super().open(path, flags, mode)


def test_two_first_writes_share_one_descriptor(tmp_path: Path) -> None:
    """A second one would close the first under its writer: an error, or another file's bytes."""
    (tmp_path / "content").mkdir()
    disk = _Opened()
    content = ContentFile(disk, tmp_path, "ab", Identity("s", "k", "e", 2 * MIB), MIB)
    one, two = Pieces().take(MIB), Pieces().take(MIB)
    one.buffer[:], two.buffer[:] = b"1" * MIB, b"2" * MIB
    disk.meanwhile = threading.Thread(
        target=content.write, args=(1, two.buffer), kwargs={"direct": True}
    )
    content.write(0, one.buffer, direct=True)
    disk.meanwhile.join()
    assert disk.count == 1
    assert content.path.read_bytes() == b"1" * MIB + b"2" * MIB
