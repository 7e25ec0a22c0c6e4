"""What is opened is held before it is looked at."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

from hardtack.cache.api import Entry, Kind
from hardtack.mount import wire
from hardtack.mount.filesystem import FileSystem
from hardtack.mount.look import Look

FILE = Entry(5, 1, "a", Kind.FILE, "a", 1, "", 0, "")


class Tree:
    """Remembers what was asked of it, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def entry(self, id: int) -> Entry:
        return FILE

    def hold(self, id: int) -> None:
        self.asked.append("hold")

    def drop(self, id: int) -> None:
        self.asked.append("drop")

    def trusted_fd(self, entry: Entry) -> None:
        self.asked.append("look")


class Handles:
    """Opens what is asked for, or fails."""

    def __init__(self, *, new: bool = True, fails: bool = False) -> None:
        self._new, self._fails = new, fails

    def inodes(self) -> list[int]:
        return []

    def open(self, inode: int, unique: int, trusted: Any) -> tuple[Any, bool]:
        trusted()
        if self._fails:
            raise OSError(5, "no")
        return SimpleNamespace(id=1, mode=None), self._new


@pytest.mark.parametrize(
    ("handles", "asked"),
    [
        (Handles(), ["hold", "look"]),
        (Handles(new=False), ["hold", "look", "drop"]),
        (Handles(fails=True), ["hold", "look", "drop"]),
    ],
    ids=["new", "known", "fails"],
)
def test_an_open_file_is_held_before_it_is_looked_at(handles: Handles, asked: list[str]) -> None:
    """§ 2.5: it can't be evicted between the two; and it is held once for each handle."""
    tree = Tree()
    connection = SimpleNamespace(reply=lambda *_: True, fail=lambda *_: True)
    box: Any = FileSystem
    system: FileSystem = box(tree, handles, connection, Look(), lambda: b"", "", 60)
    system.handle(wire.Request(wire.Op.OPEN, 1, FILE.id, memoryview(struct.pack("=II", 0, 0))))
    assert tree.asked == asked
