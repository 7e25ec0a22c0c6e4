"""What the disk can do to a cache: be full, read-only, broken, gone, or lose what wasn't synced."""

from __future__ import annotations

import errno
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from hardtack.cache import downloader
from hardtack.cache.chunkmap import unpack_header, unpack_parts, unpack_records
from hardtack.cache.content import checksum
from hardtack.core.errors import (
    CacheError,
    DiskFull,
    FormatError,
    HardtackError,
    SourceUnreachable,
)
from hardtack.core.units import format_size
from hardtack.source.scripted import Fault, ScriptedSource
from tests.support.caches import DATA, SMALL, find, opened, read, settle
from tests.support.disks import FailingDisk, RecordingDisk, Write
from tests.support.trickle import Trickle


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_reads_stream_past_a_disk_that_takes_nothing(
    tmp_path: Path, source: ScriptedSource, number: int
) -> None:
    disk = FailingDisk()
    with opened(tmp_path, source, disk=disk) as cache:
        cache.refresh()
        entry = find(cache, "a.bin")
        assert read(cache, entry, 0, 100) == DATA[:100]
        cache.store.flush()
        disk.errors["pwrite"] = number
        assert read(cache, entry) == DATA
        assert read(cache, entry, 0, 100) == DATA[:100]
        assert cache.counters.passed_bytes > 0
        assert [path for path, _ in cache.prefetch(["a.bin"]).failed] == ["a.bin"]
        disk.errors.clear()
        assert cache.prefetch(["a.bin"]).failed == ()


def test_chunks_that_cannot_be_made_to_last_are_holes(
    tmp_path: Path, source: ScriptedSource
) -> None:
    disk = FailingDisk()
    disk.errors["fdatasync"] = errno.EIO
    with opened(tmp_path, source, disk=disk) as cache:
        cache.refresh()
        entry = find(cache, "a.bin")
        assert read(cache, entry) == DATA
        cache.store.flush()
        assert read(cache, entry) == DATA
    with opened(tmp_path, source) as cache:
        assert cache.content(find(cache, "a.bin")).sums == {}


def test_the_oldest_make_room(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source, replace(SMALL, size_limit=60_000)) as cache:
        cache.refresh()
        first, second = find(cache, "a.bin"), find(cache, "b.bin")
        assert read(cache, first) == DATA
        settle(cache, first)
        assert read(cache, second) == DATA[::-1]
        settle(cache, second)
        assert cache.usage().present <= 60_000
        assert cache.presence(first).present == 0
        cache.hold(second.id)
        assert [path for path, _ in cache.prefetch(["a.bin"]).failed] == ["a.bin"]
        assert read(cache, first) == DATA
        assert cache.trusted_fd(first) is None


def test_a_range_that_breaks_off_leaves_no_place_behind(
    tmp_path: Path, source: ScriptedSource
) -> None:
    options = replace(SMALL, connections=1, max_request=64 << 10)
    with opened(tmp_path, source, options) as cache:
        cache.refresh()
        entry = find(cache, "a.bin")
        content = cache.content(entry)
        source.script(Fault(after=8192, error=SourceUnreachable("cut")))
        assert [path for path, _ in cache.prefetch(["a.bin"]).failed] == ["a.bin"]
        cache.store.flush()
        assert len(content.sums) == 2
        blocks = content.disk.fstat(content.data.fd).st_blocks
        assert blocks * 512 < len(DATA) // 2


def test_what_room_costs_is_told(
    tmp_path: Path, source: ScriptedSource, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often the cache turns over; and the status has the sums."""
    with opened(tmp_path, source, replace(SMALL, size_limit=60_000)) as cache:
        cache.refresh()
        first, second = find(cache, "a.bin"), find(cache, "b.bin")
        for entry in (first, second, first, second):
            read(cache, entry)
            settle(cache, entry)
        assert [r.message for r in caplog.records if "evicted" in r.message] == [
            f"50.0 kB evicted from {tmp_path} to make room: who reads it again fetches it again."
            " A larger --cache-size or a smaller --keep-free keeps more"
        ]
        assert cache.status().evicted_bytes_total == 3 * len(DATA)
        cache.hold(second.id)
        assert read(cache, first) == DATA
        status = cache.status()
        assert status.passed_bytes_total > 0
        assert status.refusal.startswith(f"the cache {tmp_path} is full; reads stream past it")
        assert "Raise --cache-size" in status.refusal


def test_a_full_cache_names_itself(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source, replace(SMALL, size_limit=10_000)) as cache:
        cache.refresh()
        (_, why), *_ = cache.prefetch(["a.bin"]).failed
        assert "a.bin can't be kept: it needs " in why
        assert "its --cache-size 10.0 kB" in why
        assert read(cache, find(cache, "a.bin")) == DATA


def test_a_disk_without_the_free_space_to_keep_names_it(
    tmp_path: Path, source: ScriptedSource
) -> None:
    with opened(tmp_path, source, replace(SMALL, keep_free=1 << 60)) as cache:
        cache.refresh()
        done = cache.prefetch([])
        assert (done.files, len(done.failed)) == (0, 2)
        assert done.exit_code == DiskFull.exit_code
        for path, why in done.failed:
            assert f"{path} can't be kept: it needs 50.0 kB more, and its disk has " in why
            assert f"--keep-free is {format_size(1 << 60)}" in why


def test_a_disk_that_breaks_is_no_want_of_room(tmp_path: Path, source: ScriptedSource) -> None:
    disk = FailingDisk()
    with opened(tmp_path, source, disk=disk) as cache:
        cache.refresh()
        for operation in ("pwrite", "fdatasync"):
            disk.errors = {operation: errno.EIO}
            done = cache.prefetch(["a.bin"])
            assert "Input/output error" in done.failed[0][1]
            assert done.exit_code == CacheError.exit_code


def test_an_index_that_takes_no_more_is_said_in_a_line(
    tmp_path: Path,
    source: ScriptedSource,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("content.db can't be written: database or disk is full.")

    with opened(tmp_path, source, replace(SMALL, size_limit=60_000)) as cache:
        cache.refresh()
        cache.prefetch(["a.bin"])
        with monkeypatch.context() as patch:
            patch.setattr(cache.store.index, "present", full)
            patch.setattr(cache.store.index, "remove", full)
            assert read(cache, find(cache, "b.bin")) == DATA[::-1]
            cache.store.flush()
        assert "content.db can't be written" in caplog.text
        assert [record for record in caplog.records if record.exc_info] == []
        assert cache.prefetch(["b.bin"]).failed == ()


def test_a_disk_that_turns_read_only_costs_keeping_not_reading(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """What was there is read from it; what is first opened now streams, until it can be kept."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch(["a.bin"])
    disk = FailingDisk()
    with opened(tmp_path, source, disk=disk) as cache:
        disk.errors = dict.fromkeys(("open", "pwrite", "append", "fdatasync"), errno.EROFS)
        cache.store.index._db.execute("PRAGMA query_only = ON")
        for _ in range(2):
            assert read(cache, find(cache, "a.bin")) == DATA
        assert source.served == len(DATA)
        entry = find(cache, "b.bin")
        for offset in range(0, 50_000, 5000):
            assert read(cache, entry, offset, 5000) == DATA[::-1][offset : offset + 5000]
        assert cache.presence(entry).present == 0
        assert [path for path, _ in cache.prefetch([]).failed] == ["b.bin"]
        disk.errors = {}
        cache.store.index._db.execute("PRAGMA query_only = OFF")
        assert read(cache, entry) == DATA[::-1]
        settle(cache, entry)
        assert cache.trusted_fd(entry) is not None


def test_a_cache_directory_removed_underfoot(tmp_path: Path, source: ScriptedSource) -> None:
    directory = tmp_path / "cache"
    with opened(directory, source) as cache:
        cache.refresh()
        entry = find(cache, "a.bin")
        read(cache, entry, 0, 10)
        cache.store.flush()
        shutil.rmtree(directory)
        for path in ("a.bin", "b.bin"):
            try:
                entry = find(cache, path)
                assert len(read(cache, entry, 0, 10)) == 10
            except HardtackError as error:
                assert "cache" in str(error)


def test_after_a_power_cut_a_chunk_has_a_record_or_is_a_hole(
    tmp_path: Path, source: ScriptedSource
) -> None:
    disk = RecordingDisk()
    with opened(tmp_path / "first", source, disk=disk) as cache:
        cache.refresh()
        for offset in range(0, 50_000, 5000):
            read(cache, find(cache, "a.bin"), offset, 5000)
            cache.store.flush()
    maps = [write for write in disk.log if write.path.suffix == ".map"]
    assert len(maps) > 5
    for stop in range(len(disk.log) + 1):
        data, text, chunks = survivors(disk.log[:stop])
        for chunk, total in unpack_records(text, chunks).items():
            assert checksum(data[chunk * 4096 : (chunk + 1) * 4096]) == total


def test_after_a_power_cut_a_part_of_a_chunk_has_a_record_or_is_none(
    tmp_path: Path, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloader, "PART", 0.0)
    disk, trickle = RecordingDisk(), Trickle(source)
    with opened(tmp_path / "first", trickle, disk=disk) as cache:
        cache.refresh()
        assert cache.prefetch(["a.bin"]).failed == ()
    found = 0
    for stop in range(len(disk.log) + 1):
        data, text, chunks = survivors(disk.log[:stop])
        for chunk, part in unpack_parts(text, chunks).items():
            start = chunk * 4096
            assert checksum(data[start : start + part.length]) & 0xFFFFFFFF == part.checksum
            found += 1
    assert found > 40


def survivors(log: list[Write]) -> tuple[bytes, bytes, int]:
    """The worst that a power cut leaves: records, but of the data only what was synced; and how
    many chunks there are."""
    data, unsynced, text = bytearray(50_000), [], b""
    for write in log:
        if write.path.suffix == ".map":
            text += write.data
        elif write.data:
            unsynced.append(write)
        else:
            for late in unsynced:
                assert late.offset is not None
                data[late.offset : late.offset + len(late.data)] = late.data
            unsynced = []
    if not text:
        return bytes(data), b"", 0
    header, length = unpack_header(text)
    return bytes(data), text[length:], header.chunks


def test_a_torn_record_does_not_shift_the_next(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        read(cache, find(cache, "a.bin"), 0, 10)
        cache.store.flush()
        path = cache.content(find(cache, "a.bin")).path.with_suffix(".map")
    with path.open("ab") as file:
        file.write(b"torn")
    with opened(tmp_path, source) as cache:
        read(cache, find(cache, "a.bin"), 9000, 10)
        cache.store.flush()
    source.script(Fault(times=None, error=SourceUnreachable("cut")))
    with opened(tmp_path, source) as cache:
        assert read(cache, find(cache, "a.bin"), 9000, 10) == DATA[9000:9010]


def test_an_unknown_format_is_left_alone(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        read(cache, find(cache, "a.bin"), 0, 10)
        cache.store.flush()
        path = cache.content(find(cache, "a.bin")).path.with_suffix(".map")
    text = bytearray(path.read_bytes())
    _, length = unpack_header(bytes(text))
    text[8] = 99
    text[length - 4 : length] = zlib.crc32(text[: length - 4]).to_bytes(4, "little")
    path.write_bytes(text)
    with opened(tmp_path, source) as cache:
        with pytest.raises(FormatError, match="format 99"):
            read(cache, find(cache, "a.bin"), 0, 10)
        assert read(cache, find(cache, "b.bin")) == DATA[::-1]
    assert path.read_bytes() == text


def test_every_byte_of_a_map_may_flip(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch(["a.bin"])
        path = cache.content(find(cache, "a.bin")).path.with_suffix(".map")
    good = path.read_bytes()
    for offset in range(0, len(good), 7):
        bad = bytearray(good)
        bad[offset] ^= 0x10
        path.write_bytes(bad)
        with opened(tmp_path, source) as cache:
            assert read(cache, find(cache, "a.bin")) == DATA


def test_a_chunk_that_landed_has_its_record_after_the_next_flush(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """However soon that comes."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        content = cache.content(find(cache, "a.bin"))
        data = memoryview(DATA[:4096])
        assert cache.store.land(content, 0, data, direct=False)
        cache.store.flush()
        assert content.recorded == {0}
        assert content.present == 4096
