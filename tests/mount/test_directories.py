"""Pages of a directory, as kernels with small and large buffers ask for them."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest

from hardtack.cache.api import ROOT, Entry, Kind
from hardtack.mount import wire
from hardtack.mount.filesystem import FileSystem, Look

_READ_IN = struct.Struct("=QQIIQII")
_DIRENT = struct.Struct("=QQII")
_ENTRY_BYTES = 128  # struct fuse_entry_out, before each record of READDIRPLUS
NAMES = [f"model-{n}" + "ü" * (n % 90) for n in range(1500)]


class Tree:
    """A directory of NAMES; counts the entries that were read for its pages."""

    def __init__(self) -> None:
        self.read = 0
        self._entries = [
            Entry(id, ROOT, name, Kind.FILE, name, 1, "", 0, "") for id, name in enumerate(NAMES, 2)
        ]

    def entry(self, id: int) -> Entry:
        assert id == ROOT
        return Entry(ROOT, ROOT, "", Kind.DIRECTORY, "", 0, "", 0, "")

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        found = [entry for entry in self._entries if entry.id > after][:limit]
        self.read += len(found)
        return found


class Nobody:
    """No open handles; keeps what was answered last."""

    answered = b""

    def inodes(self) -> list[int]:
        return []

    def reply(self, unique: int, *parts: bytes) -> None:
        self.answered = b"".join(parts)


@pytest.mark.parametrize("room", [4096, 32768])
@pytest.mark.parametrize("plus", [False, True], ids=["readdir", "readdirplus"])
def test_each_name_once_and_few_entries_read_in_vain(room: int, plus: bool) -> None:
    tree, other = Tree(), Nobody()
    box: Any = FileSystem
    system: FileSystem = box(tree, other, other, Look(), lambda: b"", "", 60)
    operation = wire.Op.READDIRPLUS if plus else wire.Op.READDIR
    listed: list[str] = []
    after = 0
    while True:
        body = _READ_IN.pack(0, after, room, 0, 0, 0, 0)
        system.handle(wire.Request(operation, 1, ROOT, memoryview(body)))
        if not other.answered:
            break
        assert len(other.answered) <= room
        place = 0
        while place < len(other.answered):
            place += _ENTRY_BYTES if plus else 0
            _, after, length, _ = _DIRENT.unpack_from(other.answered, place)
            place += _DIRENT.size
            listed.append(os.fsdecode(other.answered[place : place + length]))
            place += -(-(_DIRENT.size + length) // 8) * 8 - _DIRENT.size
    assert listed == [".", "..", *NAMES]
    assert tree.read < 4 * len(NAMES)
