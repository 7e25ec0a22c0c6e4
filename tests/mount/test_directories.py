"""Pages of a directory, as kernels with small and large buffers ask for them."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from hardtack.cache.api import ROOT, Entry, Kind
from hardtack.mount.directories import Asked, Directories
from hardtack.mount.look import Look

_DIRENT = struct.Struct("=QQII")
_ENTRY_BYTES = 128  # struct fuse_entry_out, before each record of READDIRPLUS
NAMES = [f"model-{n}" + "ü" * (n % 90) for n in range(1500)]


class Tree:
    """A directory of `names`; counts the entries that were read for its pages."""

    def __init__(self) -> None:
        self.read = 0
        self.names = list(NAMES)

    def entry(self, id: int) -> Entry | None:
        return Entry(ROOT, ROOT, "", Kind.DIRECTORY, "", 0, "", 0, "") if id == ROOT else None

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        ids = range(max(2, after + 1), len(self.names) + 2)[:limit]
        self.read += len(ids)
        return [Entry(id, ROOT, self.names[id - 2], Kind.FILE, "key", 1, "", 0, "") for id in ids]


class Kernel:
    """Asks for a directory's pages, one after another."""

    def __init__(self, tree: Tree, room: int, *, plus: bool) -> None:
        self.now = 0.0
        self._directories = Directories(
            tree, Look(), entry_valid=60, attr_valid=60, clock=lambda: self.now
        )
        self.asked = Asked(ROOT, 0, room, plus)

    def page(self) -> list[str]:
        """The names of the next page; none at the end."""
        answers: list[bytes] = []
        self._directories.answer(self.asked, answers.append)
        (answer,) = answers
        assert len(answer) <= self.asked.room
        names: list[str] = []
        place = 0
        while place < len(answer):
            place += _ENTRY_BYTES if self.asked.plus else 0
            _, after, length, _ = _DIRENT.unpack_from(answer, place)
            self.asked = self.asked._replace(after=after)
            place += _DIRENT.size
            names.append(os.fsdecode(answer[place : place + length]))
            place += -(-(_DIRENT.size + length) // 8) * 8 - _DIRENT.size
        return names


@pytest.mark.parametrize("room", [4096, 32768])
@pytest.mark.parametrize("plus", [False, True], ids=["readdir", "readdirplus"])
def test_each_name_once_and_few_entries_read_in_vain(room: int, plus: bool) -> None:
    """§ 1.7."""
    tree = Tree()
    kernel = Kernel(tree, room, plus=plus)
    listed: list[str] = []
    while names := kernel.page():
        listed += names
    assert listed == [".", "..", *NAMES]
    assert tree.read < 4 * len(NAMES)


def test_a_page_made_ahead_is_not_kept_for_long() -> None:
    """What is listed late is listed as it then is: the kernel was told of the change before."""
    tree = Tree()
    kernel = Kernel(tree, 4096, plus=True)
    kernel.page()
    tree.names = [f"new-{n}" for n in range(1500)]
    kernel.now += 0.2
    assert not any(name.startswith("new") for name in kernel.page())
    kernel.now += 1.0
    assert all(name.startswith("new") for name in kernel.page())


def test_what_fails_ahead_fails_whoever_asks_and_is_tried_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = Tree()
    kernel = Kernel(tree, 4096, plus=False)
    with monkeypatch.context() as context:
        kernel.page()
        after = kernel.asked
        context.setattr(tree, "children", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "")))
        kernel.page()  # made before
        with pytest.raises(OSError, match=r"Errno 5"):
            kernel.page()
    assert kernel.page()
    kernel.asked = after
    assert kernel.page()
    kernel.asked = Asked(7, 0, 4096, plus=False)
    with pytest.raises(OSError, match=r"Errno 116"):
        kernel.page()
