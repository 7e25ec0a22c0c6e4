"""Chunks that broke off go on where they broke, over power cuts too."""

from __future__ import annotations

import errno
import itertools
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hardtack.cache import content, downloader
from hardtack.cache.cache import Cache
from hardtack.cache.keys import info_of
from hardtack.core.errors import SourceUnreachable
from hardtack.source.memory import MemorySource
from hardtack.source.scripted import Call, Fault, ScriptedSource
from tests.support.caches import SMALL, bytes_of, find, opened, read, settle
from tests.support.disks import FailingDisk, RecordingDisk
from tests.support.trickle import STEP, Trickle
from tests.support.waiting import until

BODY = bytes_of(400_000)
LARGE = replace(SMALL, chunk_size=1 << 16, max_request=1 << 16)
"""Chunks that are a sixth of the whole."""
ONE = replace(LARGE, connections=1)


@pytest.fixture
def memory() -> MemorySource:
    source = MemorySource()
    source.put("a.bin", BODY)
    return source


def begin(cache: Cache) -> None:
    """Fetch it, but don't wait."""
    entry = find(cache, "a.bin")
    cache.downloader.fetch(cache.content(entry), info_of(entry), lambda _: None)


def test_three_power_cuts_on_a_slow_link_cost_next_to_nothing(
    tmp_path: Path, memory: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes once, but for what two connections hadn't written yet when the power went:
    a chunk is a sixth of the whole."""
    monkeypatch.setattr(downloader, "PART", 0.0)
    options = replace(LARGE, connections=2)
    served = 0
    for life, most in enumerate((90_000, 30_000, 120_000)):
        trickle = Trickle(memory, most)
        with opened(tmp_path / f"{life}", trickle, options) as cache:
            cache.refresh()
            begin(cache)
            until(partial(trickle.waits_for, 2))
            cache.store.flush()
            shutil.copytree(tmp_path / f"{life}", tmp_path / f"{life + 1}")
            trickle.end.set()
        served += trickle.served
    trickle = Trickle(memory)
    with opened(tmp_path / "3", trickle, options) as cache:
        assert read(cache, find(cache, "a.bin")) == BODY
        settle(cache, find(cache, "a.bin"))
        assert cache.trusted_fd(find(cache, "a.bin")) is not None
    served += trickle.served
    assert len(BODY) <= served <= len(BODY) + 3 * 2 * STEP


def broken_off(source: ScriptedSource, cache: Cache, after: int) -> None:
    """Its first fetch breaks off after so many bytes."""
    cache.refresh()
    source.script(Fault(after=after, times=None, error=SourceUnreachable("cut")))
    assert cache.prefetch(["a.bin"]).failed != ()
    source.script()
    source.calls.clear()


def test_what_came_of_a_chunk_is_compared_before_it_counts(
    tmp_path: Path, memory: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that lies about what it has written costs bytes, and gives no wrong ones."""
    source = ScriptedSource(memory)
    with opened(tmp_path, source, ONE) as cache:
        broken_off(source, cache, 30_000)
        path = cache.content(find(cache, "a.bin")).path
    with path.open("r+b") as file:
        file.seek(20_000)
        file.write(b"\0" * 100)
    with opened(tmp_path, source, ONE) as cache:
        assert read(cache, find(cache, "a.bin")) == BODY
        assert source.calls[0] == Call("stream", "a.bin", 0, 1 << 16)
        settle(cache, find(cache, "a.bin"))
    assert "what came of chunk 0 of a.bin is lost" in caplog.text


def test_a_disk_that_takes_no_part_of_a_chunk_costs_its_bytes(
    tmp_path: Path, memory: MemorySource
) -> None:
    source, disk = ScriptedSource(memory), FailingDisk()
    with opened(tmp_path, source, ONE, disk) as cache:
        disk.errors = {"pwrite": errno.ENOSPC}
        broken_off(source, cache, 30_000)
        disk.errors = {}
        assert cache.prefetch(["a.bin"]).fetched_bytes == len(BODY)
        assert read(cache, find(cache, "a.bin")) == BODY


def test_the_records_themselves_are_made_to_last(
    tmp_path: Path, memory: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that only the page cache knows goes with the power, and its chunk with it."""
    monkeypatch.setattr(content, "LASTING", 0.0)
    monkeypatch.setattr(downloader, "PART", 0.0)
    disk = RecordingDisk()
    with opened(tmp_path, Trickle(memory), ONE, disk) as cache:
        cache.refresh()
        begin(cache)
        settle(cache, find(cache, "a.bin"))
        written = [bool(write.data) for write in disk.log if write.path.suffix == ".map"]
    records = written[1:]  # after the header
    assert records.count(True) > len(BODY) // STEP // 2
    unsynced = itertools.accumulate(1 if wrote else -1 for wrote in records)
    assert max(unsynced) <= 2  # the connection and the flusher: each syncs what it has written
    assert not records[-1]
