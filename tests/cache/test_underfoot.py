"""What goes, changes or fails under a cache that is in use: no wrong byte, and the sums hold."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from hardtack.cache import exporting, store
from hardtack.cache.cache import Cache
from hardtack.cache.index import Row
from hardtack.cache.keys import info_of
from hardtack.cache.store import OPEN_CONTENTS
from hardtack.core.errors import HardtackError, SourceUnreachable
from hardtack.source.memory import MemorySource
from hardtack.source.scripted import Fault, ScriptedSource
from tests.support.caches import DATA, cut, find, opened, read, settle
from tests.support.disks import FailingDisk


def flip(path: Path, offset: int) -> None:
    """In place, as a tool that opens the file does; the size stays."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def kept(cache: Cache) -> int:
    return cache.usage().present


def test_a_byte_that_somebody_changes_in_a_file_that_is_in_use(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """§ 4.1: its times tell, at the next read."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        entry = find(cache, "a.bin")
        content = cache.content(entry)
        assert content.trusted
        flip(content.path, 5000)
        assert read(cache, entry) == DATA
        with cut(source):
            assert read(cache, entry) == DATA  # it was mended, too


def test_a_disk_that_cannot_sync_takes_no_room(tmp_path: Path, source: ScriptedSource) -> None:
    disk = FailingDisk()
    with opened(tmp_path, source, disk=disk) as cache:
        cache.refresh()
        disk.errors["fdatasync"] = errno.EIO
        for _ in range(3):
            assert cache.prefetch(["a.bin"]).failed
        assert kept(cache) == 0
        disk.errors.clear()
        assert cache.prefetch(["a.bin"]).failed == ()
        assert kept(cache) == len(DATA)


def test_a_damaged_chunk_is_counted_once(tmp_path: Path, source: ScriptedSource) -> None:
    """However often it is damaged and fetched anew, and its file closed and opened again."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "a.bin")
        for _ in range(3):
            cache.prefetch(["a.bin"])
            assert kept(cache) == len(DATA)
            flip(cache.content(entry).path, 5000)
            with cut(source):
                assert cache.verify(repair=False).bad
                assert kept(cache) == len(DATA) - 4096
                forget(cache)
                cache.content(entry)
                assert kept(cache) == len(DATA) - 4096


def forget(cache: Cache) -> None:
    """Close every file, as when others were opened since."""
    for id in list(cache.store._recent):
        cache.downloader.forget(id)
    cache.store._recent.clear()
    gc.collect()
    assert not cache.store._open


@pytest.mark.parametrize("broken", [False, True])
def test_an_evicted_file_gives_its_room_back_at_once(
    tmp_path: Path, source: ScriptedSource, broken: bool
) -> None:
    """No descriptor of it stays open, after whatever was done with it."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        if broken:
            source.script(Fault(after=9000, error=SourceUnreachable("cut"), times=None))
        assert bool(cache.prefetch([]).failed) is broken
        assert cache.evict([]).files == 2
        assert open_but_gone(tmp_path) == []


def open_but_gone(directory: Path) -> list[str]:
    return [name for name in open_below(directory) if "(deleted)" in name]


def open_below(directory: Path) -> list[str]:
    found = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    return [name for name in found if name.startswith(str(directory))]


def test_files_that_are_complete_are_closed(tmp_path: Path) -> None:
    """But for the last ones: a prefetch of many needs no more than a process may open."""
    memory = MemorySource()
    for number in range(300):
        memory.put(str(number), b"%d" % number)
    with opened(tmp_path, memory) as cache:
        cache.refresh()
        assert cache.prefetch([]).failed == ()
        assert len(open_below(tmp_path)) < 3 * OPEN_CONTENTS


def test_too_many_open_files_are_told_as_such(tmp_path: Path, source: ScriptedSource) -> None:
    disk = FailingDisk()
    with opened(tmp_path, source, disk=disk) as cache:
        cache.refresh()
        disk.errors["open"] = errno.EMFILE
        (failed, *_) = cache.prefetch([]).failed
        assert "Too many open files. Let this process open more files: ulimit -n" in failed[1]
        assert read(cache, find(cache, "a.bin")) == DATA


def test_records_that_the_index_never_heard_of_are_counted(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """A kill between a record and the sum in the index."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch(["a.bin"])
        entry = find(cache, "a.bin")
        id = cache.content(entry).id
    with opened(tmp_path, source) as cache:
        cache.store.index.seal(id, None)
        cache.store.index.present(id, 4096)
    with opened(tmp_path, source) as cache:
        assert kept(cache) == 4096
        for _ in range(2):
            cache.content(entry)
            assert kept(cache) == len(DATA)
            forget(cache)


def test_what_is_evicted_while_it_is_written_takes_no_room(
    tmp_path: Path, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "a.bin")
        content = cache.content(entry)
        (row,) = cache.store.index.oldest_first()
        write = content.write

        def write_and_go(chunk: int, data: memoryview, *, direct: bool) -> None:
            write(chunk, data, direct=direct)
            if not content.gone:
                cache.store.remove(row)

        monkeypatch.setattr(content, "write", write_and_go)
        assert read(cache, entry) == DATA
        settle(cache, entry)
        assert kept(cache) == len(DATA)


@pytest.mark.parametrize("lost", ["the file", "a byte"])
def test_a_map_lost_on_a_full_disk(tmp_path: Path, source: ScriptedSource, lost: str) -> None:
    """The seal vouches for bytes whose records can't be written again."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        path = cache.content(find(cache, "a.bin")).path.with_suffix(".map")
    if lost == "a byte":
        flip(path, path.stat().st_size - 5)
    else:
        path.unlink()
    disk = FailingDisk()
    with opened(tmp_path, source, disk=disk) as cache:
        entry = find(cache, "a.bin")
        if lost == "a byte":
            disk.errors["append"] = errno.ENOSPC
        with cut(source):
            assert read(cache, entry) == DATA
        assert kept(cache) == 2 * len(DATA)


def test_a_cache_directory_that_is_gone_costs_no_read(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """Nobody says how much room there is where it was."""
    disk = FailingDisk()
    with opened(tmp_path, source, disk=disk) as cache:
        cache.refresh()
        disk.errors["free"] = errno.ENOENT
        assert read(cache, find(cache, "a.bin")) == DATA


def test_a_record_that_breaks_off_puts_none_out_of_step(
    tmp_path: Path, source: ScriptedSource
) -> None:
    class Short(FailingDisk):
        left = 0

        def append(self, fd: int, data: bytes) -> int:
            count, self.left = self.left or len(data), 0
            return super().append(fd, data[:count])

    disk = Short()
    with opened(tmp_path, source, disk=disk) as cache:
        cache.refresh()
        cache.content(find(cache, "a.bin"))
        disk.left = 5
        for _ in range(2):
            cache.prefetch(["a.bin"])
        id = cache.content(find(cache, "a.bin")).id
        cache.store.index.seal(id, None)
    with opened(tmp_path, source) as cache:
        assert cache.content(find(cache, "a.bin")).complete


def test_the_scrub_brings_nothing_back_that_was_evicted(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """It goes through a list of hours ago, at its rate."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        rows = list(cache.store.index.oldest_first())
        cache.evict([])
        for row in rows:
            assert not any(cache._verifier.scrub(row, lambda count: None))
        assert cache.contents() == []
        assert cache.counters.bad_chunks == 0


def test_what_is_evicted_during_an_export_is_not_exported_empty(
    tmp_path: Path, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before its turn, nor in the middle of its copy."""
    with opened(tmp_path / "cache", source) as cache:
        cache.refresh()
        done = cache.prefetch([])
        selection = cache._view.select([])
        cache.evict(["a.bin"])
        copied = exporting._copied

        def evict(path: Path, to: Path, mtime_ns: int) -> bool:
            cache.evict(["b.bin"])
            path.touch()
            os.truncate(path, len(DATA))
            return copied(path, to, mtime_ns)

        monkeypatch.setattr(exporting, "_copied", evict)
        exported = exporting.export(cache.store, selection, tmp_path / "out", done)
        assert {path for path, _ in exported.failed} == {"a.bin", "b.bin"}
        assert all("left the cache meanwhile" in why for _, why in exported.failed)
        assert exported.exit_code != 0
        assert list((tmp_path / "out").iterdir()) == []


def test_what_is_wanted_of_a_closed_cache_is_refused(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """A scrub that finds damage while the worker ends waits for nobody."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "a.bin")
        content = cache.content(entry)
        cache.downloader.close()
        told: list[HardtackError | None] = []
        done = threading.Event()

        def finished(error: HardtackError | None) -> None:
            told.append(error)
            done.set()

        cache.downloader.fetch(content, info_of(entry), finished)
        assert done.wait(10)
        assert isinstance(told[0], SourceUnreachable)


def test_what_is_opened_while_its_eviction_is_decided_stays(
    tmp_path: Path, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§ 2.5: whoever held it and was then given its file has it, until it is dropped."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        entry = find(cache, "a.bin")
        given: list[int] = []

        def open_first(rows: Iterable[Row], need: int, keeps: object) -> list[Row]:
            chosen = list(rows)
            cache.hold(entry.id)
            fd = cache.trusted_fd(entry)
            assert fd is not None
            given.append(fd)
            return chosen

        monkeypatch.setattr(store, "victims", open_first)
        assert cache.store.make_room(2 * len(DATA)) == len(DATA)
        os.close(given[0])
        assert kept(cache) == len(DATA)
        again = cache.trusted_fd(entry)
        assert again is not None
        os.close(again)
        cache.drop(entry.id)
        (row,) = cache.store.index.oldest_first()
        assert cache.store.remove(row) == len(DATA)
        assert cache.trusted_fd(entry) is None
