"""A cache of a plain directory, for tests of the mount alone.

Names below `tree/` of the cache directory are the entries; ids follow the sorted paths, the root
first. A file `absent` in the cache directory
makes reads of all files wait until it is gone; `trusted` allows passthrough, but of files whose
name begins with `copied`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hardtack.cache.api import Entry, Invalidation, Kind, Presence, Reply, State
from hardtack.cache.results import Status
from hardtack.core.errors import SourceUnreachable


class FakeCache:
    """The part of `Cache` that a mount needs, over `<directory>/tree`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tree = directory / "tree"
        self.source = SimpleNamespace(close=lambda: None)
        self._closed = False
        self._entries: dict[int, Entry] = {}
        self._names: dict[tuple[int, str], int] = {}
        self._kept: dict[int, list[int]] = {}
        self._callback: Callable[[Invalidation], None] = lambda changed: None
        self._scan()

    def _scan(self) -> None:
        ids: dict[str, int] = {"": 1}
        self._add(Entry(1, 1, "", Kind.DIRECTORY, "", 0, "", 1_700_000_000_123_456_789, ""))
        for path in sorted(self.tree.rglob("*")):
            relative = str(path.relative_to(self.tree))
            above = path.parent.relative_to(self.tree)
            parent = ids["" if path.parent == self.tree else str(above)]
            id = ids[relative] = len(ids) + 1
            info = path.lstat()
            kind = (
                Kind.LINK if path.is_symlink() else Kind.DIRECTORY if path.is_dir() else Kind.FILE
            )
            target = os.readlink(path) if path.is_symlink() else ""
            self._add(
                Entry(id, parent, path.name, kind, relative, info.st_size, f"e{id}",
                      info.st_mtime_ns, target)
            )  # fmt: skip

    def _add(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        if entry.id != 1:
            self._names[entry.parent, entry.name] = entry.id
            self._kept.setdefault(entry.parent, []).append(entry.id)

    def has_listing(self) -> bool:
        return not (self.directory / "unreachable").exists()

    def refresh(self) -> None:
        raise SourceUnreachable("there is no network here.")

    def start(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """`rename` in the cache directory holds `old new`: a name of the root that changes."""
        order = self.directory / "rename"
        while True:
            if order.exists():
                old, new = order.read_text().split()
                order.unlink()
                id = self._names.pop((1, old))
                before = self._entries[id]
                fresh = len(self._entries) + 1
                self._add(
                    Entry(fresh, 1, new, before.kind, before.key, before.size, "new",
                          before.mtime_ns, "")
                )  # fmt: skip
                self._kept[1].remove(id)
                self._callback([(1, old), (1, new)])
            time.sleep(0.02)

    def on_invalidate(self, callback: Callable[[Invalidation], None]) -> None:
        self._callback = callback

    def entry(self, id: int) -> Entry | None:
        return self._entries.get(id)

    def lookup(self, parent: int, name: str) -> Entry | None:
        id = self._names.get((parent, name))
        return None if id is None else self._entries[id]

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        ids = [id for id in self._kept.get(parent, []) if id > after][:limit]
        return [self._entries[id] for id in ids]

    def presence(self, entry: Entry) -> Presence:
        if (self.directory / "absent").exists():
            return Presence(State.PARTIAL, entry.size // 3, entry.size)
        return Presence(State.COMPLETE, entry.size, entry.size)

    def trusted_fd(self, entry: Entry) -> int | None:
        if entry.name.startswith("copied") or not (self.directory / "trusted").exists():
            return None
        return os.open(self.tree / entry.key, os.O_RDONLY)

    def read(self, entry: Entry, offset: int, size: int, reply: Reply) -> None:
        if (self.directory / "absent").exists():
            threading.Thread(
                target=self._read_later, args=(entry, offset, size, reply), daemon=True
            ).start()
            return
        fd = os.open(self.tree / entry.key, os.O_RDONLY)
        try:
            data = os.pread(fd, size, offset)
        finally:
            os.close(fd)
        reply(memoryview(data))

    def _read_later(self, entry: Entry, offset: int, size: int, reply: Reply) -> None:
        (self.directory / "waiting").touch()
        for _ in range(6000):
            if self._closed or (self.directory / "broken").exists():
                reply(SourceUnreachable("the source is gone."))
                return
            if not (self.directory / "absent").exists():
                self.read(entry, offset, size, reply)
                return
            time.sleep(0.01)

    def hold(self, id: int) -> None: ...

    def drop(self, id: int) -> None: ...

    def status(self) -> Status:
        files = [entry for entry in self._entries.values() if entry.kind is Kind.FILE]
        size = sum(entry.size for entry in files)
        return Status(
            source="file:///", reachable_since=None, unreachable_since=None, last_error="",
            generation=1, generation_time=None, objects=len(files), bytes=size,
            complete=len(files), partial=0, present_bytes=size, fetched_bytes_total=0,
            bytes_read_total=0, hits=0, misses=0, fetching=(), eta=None,
        )  # fmt: skip

    def close(self) -> None:
        """As the real one: who still waits is refused."""
        self._closed = True
        time.sleep(0.1)


def open_fake(run: dict[str, Any]) -> FakeCache:
    return FakeCache(Path(run["cache"]))
