"""Listings: generations, life spans, odd keys, damage."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from hardtack.cache.api import ROOT, Entry, Kind
from hardtack.cache.cache import Cache
from hardtack.core.errors import (
    AccessDenied,
    CacheError,
    ConfigError,
    FormatError,
    SourceUnreachable,
)
from hardtack.source.memory import MemorySource
from hardtack.source.scripted import Fault, ScriptedSource
from tests.support.caches import find, opened, read


def names(cache: Cache, parent: int = ROOT) -> list[str]:
    found: list[Entry] = []
    while page := cache.children(parent, found[-1].id if found else 0, 1000):
        found += page
    assert [entry.id for entry in found] == sorted({entry.id for entry in found})
    return sorted(entry.name for entry in found)


def test_many_pages(tmp_path: Path) -> None:
    memory = MemorySource()
    for n in range(10_001):
        memory.put(f"d/{n:05}", b"", etag="e", mtime_ns=1)
    with opened(tmp_path, memory) as cache:
        assert cache.refresh().added == 10_002
        assert len(names(cache, find(cache, "d").id)) == 10_001
        again = cache.refresh()
        assert (again.generation, again.added, again.removed) == (1, 0, 0)
        memory.delete("d/00007")
        last = cache.refresh()
        assert (last.generation, last.added, last.removed) == (2, 0, 1)


def test_an_empty_bucket_is_a_listing(tmp_path: Path) -> None:
    with opened(tmp_path, MemorySource()) as cache:
        assert cache.refresh().generation == 1
        assert cache.has_listing()
        assert names(cache) == []
        root = cache.entry(ROOT)
        assert root is not None
        assert root.kind is Kind.DIRECTORY


def test_odd_keys_are_left_out_and_named(tmp_path: Path) -> None:
    memory = MemorySource()
    odd = ["a", "x//y", "../up", "n\0l", "\udcff", "l" * 300, "/root", "away.rclonelink"]
    for key in odd:
        memory.put(key, b"/etc/passwd")
    for key in ("a/b", "fine", "dir/", "l.rclonelink"):
        memory.put(key, b"fine")
    with opened(tmp_path, memory) as cache:
        result = cache.refresh()
        assert {skipped.key for skipped in result.skipped} == set(odd)
        assert result.skipped_count == len(odd)
        assert names(cache) == ["a", "dir", "fine", "l"]
        assert find(cache, "l").kind is Kind.LINK
        assert find(cache, "l").target == "fine"


def test_a_refresh_that_fails_changes_nothing(tmp_path: Path) -> None:
    """§ 1.1."""
    memory = MemorySource(page_size=1)
    for key in "abc":
        memory.put(key, b"x")
    source = ScriptedSource(memory)
    with opened(tmp_path, source) as cache:
        cache.refresh()
        memory.delete("a")
        memory.put("d", b"y")
        source.script(Fault(operation="pages", after=2, error=AccessDenied("no")))
        with pytest.raises(AccessDenied):
            cache.refresh()
        assert names(cache) == ["a", "b", "c"]
        cache.refresh()
        assert names(cache) == ["b", "c", "d"]


def test_a_file_becomes_a_directory_and_back(tmp_path: Path) -> None:
    memory = MemorySource()
    memory.put("a", b"x")
    with opened(tmp_path, memory) as cache:
        cache.refresh()
        file = find(cache, "a")
        memory.delete("a")
        memory.put("a/b", b"y")
        cache.refresh()
        assert find(cache, "a").kind is Kind.DIRECTORY
        memory.delete("a/b")
        memory.put("a", b"x")
        cache.refresh()
        assert find(cache, "a").kind is Kind.FILE
        assert find(cache, "a").id != file.id
        assert cache.entry(file.id) == file


def test_releases_are_named_once(tmp_path: Path) -> None:
    memory = MemorySource()
    memory.put("a", b"x")
    with opened(tmp_path, memory) as cache:
        cache.refresh()
        cache.pin("r")
        cache.pin("r")
        memory.put("b", b"x")
        cache.refresh()
        with pytest.raises(ConfigError, match="generation 1"):
            cache.pin("r")
        cache.unpin("r")
        with pytest.raises(ConfigError, match="no release 'r'"):
            cache.unpin("r")


def test_a_changed_row_is_an_error_and_then_rebuilt(tmp_path: Path) -> None:
    memory = MemorySource()
    memory.put("a", b"12345")
    with opened(tmp_path, memory) as cache:
        cache.refresh()
        assert read(cache, find(cache, "a")) == b"12345"
        path = cache.catalogue.path
    db = sqlite3.connect(path)
    db.execute("UPDATE entries SET size = 3 WHERE name = 'a'")
    db.commit()
    db.close()
    with opened(tmp_path, memory) as cache, pytest.raises(FormatError, match="is damaged"):
        find(cache, "a")
    with opened(tmp_path, memory) as cache:
        assert path.with_name(path.name + ".damaged-1").exists()
        assert not cache.has_listing()
        cache.refresh()
        assert read(cache, find(cache, "a")) == b"12345"


@pytest.mark.parametrize("name", ["catalogue", "content"])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, name: str) -> None:
    memory = MemorySource()
    memory.put("a", b"12345")
    with opened(tmp_path, memory) as cache:
        cache.refresh()
        cache.prefetch([])
    (path,) = tmp_path.glob(f"{name}*.db")
    path.write_bytes(b"not a database" * 1000)
    with opened(tmp_path, memory) as cache:
        cache.refresh()
        before = cache.counters.fetched_bytes
        assert read(cache, find(cache, "a")) == b"12345"
        assert cache.counters.fetched_bytes == before


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path, MemorySource()) as cache:
        path = cache.catalogue.path
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(FormatError, match="format 99"):
        opened(tmp_path, MemorySource()).__enter__()
    assert path.read_bytes() == before


def test_a_question_after_the_end_marks_nothing_damaged(tmp_path: Path) -> None:
    memory = MemorySource()
    memory.put("a", b"x")
    with opened(tmp_path, memory) as cache:
        cache.refresh()
    with pytest.raises(CacheError, match="closed"):
        cache.lookup(ROOT, "a")
    with opened(tmp_path, memory) as cache:
        assert find(cache, "a").size == 1


def test_the_background_lists_once_the_source_answers(tmp_path: Path) -> None:
    memory = MemorySource()
    memory.put("a", b"x")
    fault = Fault(operation="pages", error=SourceUnreachable("not yet"))
    with opened(tmp_path, ScriptedSource(memory, fault)) as cache:
        listed = threading.Event()
        cache.on_invalidate(lambda _: listed.set())
        cache.start()
        assert listed.wait(30)
        assert find(cache, "a").size == 1
        status = cache.status()
        assert (status.generation, status.objects, status.bytes) == (1, 1, 1)
        assert status.reachable_since is not None
        assert status.unreachable_since is None
