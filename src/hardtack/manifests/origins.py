"""Where the lines stand on disk that named templates yield.

While a template is rendered, a mark goes before what each of its lines begins with, and before
what each of its actions puts in. Marks go through Helm's functions for text as any letter does.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from hardtack.manifests.place import Place

_OPEN, _CLOSE = "\ue002", "\ue003"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_BLANK = re.compile(r"[ \t]*")


class Mark(NamedTuple):
    """Before column `at` (from 1) of a line stands what is written at `place`, or what the action
    there puts in."""

    at: int
    place: Place
    is_action: bool


@dataclass(frozen=True)
class Origins:
    """Places of a text's lines: for each (from 0) the marks in it, in order."""

    lines: tuple[tuple[Mark, ...], ...] = ()
    texts: tuple[str, ...] = ()

    def of(self, line: int, column: int) -> Place | None:
        """The place of the value there: that of its key, where it stands behind one. None where
        no named template wrote the line."""
        marks = self.lines[line] if line < len(self.lines) else ()
        if not marks:
            return None
        key = self.texts[line].rfind(":", 0, column - 1)
        at, place, is_action = next(
            (mark for mark in reversed(marks) if mark.at <= (key if key > 0 else column)), marks[0]
        )
        return place if is_action else replace(place, column=place.column + column - at)

    def has(self, file: Path, line: int) -> bool:
        """Whether any of the text stands there."""
        return any(
            (m.place.file, m.place.line) == (file, line) for each in self.lines for m in each
        )

    def most(self) -> tuple[Path, tuple[int, ...]] | None:
        """The file that most lines stand in, with the line there for each of the text's; lines of
        other files are where the one before is. None where no named template wrote any."""
        firsts = [marks[0].place if marks else None for marks in self.lines]
        files = Counter(place.file for place in firsts if place)
        if not files:
            return None
        ((file, _),) = files.most_common(1)
        lines: list[int] = []
        for place in firsts:
            here = place.line if place and place.file == file else None
            lines.append(here or (lines[-1] if lines else 1))
        return file, tuple(lines)


NOWHERE = Origins()


@dataclass
class Marks:
    """The marks of one rendering."""

    places: list[tuple[Place, bool]] = field(default_factory=list)

    def text(self, text: str, begins: Place) -> str:
        """A template's text, which `begins` there, with a mark in each line."""
        return "\n".join(
            self._marked(line, replace(begins, line=begins.line + n, column=1) if n else begins)
            for n, line in enumerate(text.split("\n"))
        )

    def value(self, text: str, action: Place) -> str:
        """What an action puts in, with a mark in each line that has none."""
        return "\n".join(
            line if _OPEN in line else self._marked(line, action, is_action=True)
            for line in text.split("\n")
        )

    def _marked(self, line: str, place: Place, *, is_action: bool = False) -> str:
        blank = _BLANK.match(line)
        at = blank.end() if blank else 0
        if at == len(line):
            return line
        column = place.column + (0 if is_action else at)
        self.places.append((replace(place, column=column), is_action))
        return f"{line[:at]}{_OPEN}{len(self.places) - 1}{_CLOSE}{line[at:]}"

    def origins(self, marked: str, text: str) -> Origins:
        """Where the lines of `text` stand, which `marked` is with marks; nowhere when it's not."""
        if _MARK.sub("", marked) != text:
            return NOWHERE
        lines = []
        for line in marked.split("\n"):
            width = 0  # of the marks so far
            marks = []
            for mark in _MARK.finditer(line):
                marks.append(Mark(mark.start() - width + 1, *self.places[int(mark[1])]))
                width += len(mark[0])
            lines.append(tuple(marks))
        return Origins(tuple(lines), tuple(text.split("\n")))
