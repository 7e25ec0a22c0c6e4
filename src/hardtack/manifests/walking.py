"""The files below a directory, and what there is that can't be looked at: nothing is passed over in
silence."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hardtack.manifests.place import Place, Problem, Severity

_LEFT_OUT = {".git", ".idea", ".venv", ".vscode", "node_modules", "__pycache__"}
_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def special(file: Path) -> str:
    """What a file is that holds no text of its own ("a pipe"), or nothing. Raises OSError."""
    return _KINDS.get(stat.S_IFMT(file.stat().st_mode), "")


def below(top: Path, problems: list[Problem]) -> Iterator[Path]:
    """Files, directories in order. Links lead to directories elsewhere, each once; one to a
    directory that holds `top` would lead anywhere, and is left out."""

    def unreadable(error: OSError) -> None:
        place = Place(Path(error.filename), 1)
        problems.append(Problem(place, f"it can't be read: {error.strerror}"))

    links = _Links(top, problems)
    for where, directories, names in os.walk(top, onerror=unreadable, followlinks=True):
        wanted = (Path(where, name) for name in sorted(directories) if name not in _LEFT_OUT)
        directories[:] = [each.name for each in wanted if links.may_follow(each)]
        for name in sorted(names):
            file = Path(where, name)
            try:
                is_file, is_link = file.is_file(), file.is_symlink()
                kind = special(file) if file.exists() and not is_file else ""
            except OSError as error:
                unreadable(error)
                continue
            if is_file:
                yield file
            elif kind:
                problems.append(Problem(Place(file, 1), f"left out: it's {kind}", Severity.WARNING))
            elif is_link:
                text = "left out: it's a link to nothing that is there"
                problems.append(Problem(Place(file, 1), text, Severity.WARNING))


class _Links:
    """Which links to directories are followed below `top`."""

    def __init__(self, top: Path, problems: list[Problem]) -> None:
        self._top = Path(os.path.realpath(top))
        self._problems = problems
        self._followed: set[Path] = set()

    def may_follow(self, directory: Path) -> bool:
        """Whether it is no link, or leads where nobody else goes."""
        if not directory.is_symlink():
            return True
        to = Path(os.path.realpath(directory))
        if to == self._top or self._top in to.parents or to in self._followed:
            return False
        if to in self._top.parents:
            text = f"left out: it's a link to {to}, in which this lies"
            self._problems.append(Problem(Place(directory, 1), text, Severity.WARNING))
            return False
        self._followed.add(to)
        return True
