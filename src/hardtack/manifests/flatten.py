"""Raw Helm templates as YAML of the same lines: actions replaced by what they yield.

`pieces` tells what that is; here it is written down, and where YAML has no words for it, by marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hardtack.manifests import marks
from hardtack.manifests.expressions import Evaluator, World, untold_line
from hardtack.manifests.holes import Choice, Hole, opened
from hardtack.manifests.pieces import (
    Alternatives,
    Edge,
    Inserted,
    Piece,
    Reader,
    Turns,
    Untold,
    Value,
    Values,
    Words,
)
from hardtack.manifests.template import Node, bodies
from hardtack.manifests.yamlpos import Node as Yaml
from hardtack.manifests.yamlpos import Sequence as Items

_CONTAINERS = re.compile(r"^\s*(containers|initContainers|ephemeralContainers):", re.MULTILINE)
_KEY = re.compile(r"\s*[\w.-]+:\s*")
_FILE = re.compile(r'\.Files\.(?:Get|Glob|Lines)\s+"([^"]+)"')
_JOINTS = ("/", ":", "@", "-", '""', "@sha256:", "sha256:")  # what joins the parts of an image


@dataclass(frozen=True)
class Part:
    """A piece that may name images, with the list of containers that it stands `below`."""

    piece: Inserted | Untold
    below: str


@dataclass(frozen=True)
class Flat:
    """A template as YAML of the same lines, with marks for its `holes` and `grafts`. `parts` is
    what actions put in that may name images; `files` are the chart's files that it takes in by
    `.Files.Get` and `.Files.Glob`."""

    text: str
    holes: tuple[Hole, ...]
    grafts: tuple[Yaml, ...]
    parts: tuple[Part, ...]
    files: tuple[str, ...]


def flatten(
    nodes: list[Node], evaluator: Evaluator, root: Any, *, only_chosen: bool = False
) -> Flat:
    """With `only_chosen` a condition's branches are left blank but for the one that the values
    choose; else all stand there, as other values may choose them."""
    page = _Page()
    reader = Reader(evaluator, page.holes, only_chosen)
    page.write(reader.pieces(nodes, Turns([World(root, root)])))
    # A line of blanks alone would be the first of a block scalar, and give its indentation.
    text = marks.without_open_digests(re.sub(r"(?m)^[ \t]+$", "", page.text()))
    files = [name for body in bodies(nodes) for name in _FILE.findall(body)]
    return Flat(text, tuple(page.holes), tuple(page.grafts), tuple(page.parts), tuple(files))


@dataclass
class _Page:
    """What is written so far: the lines before this one, and this one's parts."""

    holes: list[Hole] = field(default_factory=list)
    grafts: list[Yaml] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    below: str = ""  # the list of containers that was begun last
    is_blank: bool = True  # whether the line is blank so far
    lines: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    last_words: str = ""  # the template's own on the last line that has any

    def text(self) -> str:
        return "".join(self.lines + self.line)

    def write(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            match piece:
                case Words(text):
                    self._words(text)
                case Values(each, frame):
                    self._add(self._one_of([self._value(value) for value in each], frame))
                case Alternatives():
                    self._alternatives(piece)
                case Inserted():
                    self._join(piece)
                case Untold():
                    self._skip(piece)
                case Edge(action):
                    why = f"a condition, {{{{ {action.body[:60]} }}}}, chooses it"
                    self._add(opened(self.holes, why))

    def _add(self, text: str) -> None:
        if text.strip():
            self.is_blank = False
        self.line.append(text)

    def _words(self, text: str) -> None:
        *whole, last = text.rsplit("\n", 1)
        if whole:
            self.lines += (*self.line, whole[0], "\n")
            self.line, self.is_blank = [], True
        self._add(last)
        if lists := _CONTAINERS.findall(text):
            self.below = lists[-1]
        if kept := text.rstrip():
            self.last_words = kept.rpartition("\n")[2].strip()

    def _one_of(self, texts: list[str], frame: int) -> str:
        """The one text that all are, or a hole that may be each."""
        if len(set(texts)) == 1:
            return texts[0]
        return opened(self.holes, Choice(frame, tuple(texts)))

    def _value(self, value: Value) -> str:
        """What stands within a line for what an action yields. `{{-` has taken the blank away that
        YAML needs before all but a scalar."""
        match value:
            case str():
                return value
            case Untold():
                return self._untold(value)
        self._note(value)
        if value.grown:
            return f" {marks.graft_tag(self._graft(value.grown))}"
        text = value.text.strip()
        is_scalar = not ("\n" in text or ": " in text or text.startswith("- "))
        return f" {text}" if is_scalar else ""

    def _untold(self, untold: Untold) -> str:
        """A hole, or an untold entry where the action puts in more than a scalar."""
        body = untold.action.body
        if "indent" in body or "toYaml" in body:
            begun = "".join(self.line[-20:])  # of a line that may have a hundred thousand
            if begun.strip() == "-":
                return ("" if begun.endswith(" ") else " ") + marks.untold_entry(body)
            if begun.rstrip().endswith(":"):
                return f" {{{marks.untold_entry(body)}}}"
        return opened(self.holes, untold.why)

    def _alternatives(self, piece: Alternatives) -> None:
        """Each branch is an alternative, but one that isn't chosen and stands on values that aren't
        set."""
        options = [self._branch(pieces) for pieces in piece.branches]
        kept = [
            option
            for number, option in enumerate(options)
            if number == piece.chosen or not self._stands_on_nothing(option)
        ] or options[-1:]
        if self.is_blank:
            kept = [option for option in kept if option.strip()] or [""]
            if all(_KEY.fullmatch(option) for option in kept):  # of what stands below
                is_one = 0 <= piece.chosen < len(options)
                kept = [options[piece.chosen] if is_one else kept[-1]]
        common = _common_words(kept) if len(set(kept)) > 1 else ""
        rest = [option[len(common) :] for option in kept]
        self._add(common + self._one_of(rest, piece.frame))

    def _branch(self, pieces: tuple[Piece, ...]) -> str:
        page = _Page(self.holes, self.grafts, self.parts, self.below, is_blank=False)
        page.write(pieces)
        return page.text()

    def _stands_on_nothing(self, option: str) -> bool:
        holes = [self.holes[number] for number in marks.holes_in(option)]
        is_unset = any(isinstance(hole, str) and "has no value" in hole for hole in holes)
        return is_unset or option.strip() in _JOINTS

    def _join(self, piece: Inserted) -> None:
        """A mark, at the text's indentation, by which its entries or items join those around."""
        self._note(piece)
        if not piece.grown:
            return
        width = self._unindent()
        lines = piece.text.split("\n")
        indents = [len(each) - len(each.lstrip(" ")) for each in lines if each.strip()]
        if lines[0].strip():
            indents[0] += width
        mark = marks.graft_item if isinstance(piece.grown, Items) else marks.graft_entry
        self._add(" " * min(indents) + mark(self._graft(piece.grown)))

    def _skip(self, untold: Untold) -> None:
        """An action that has its line to itself."""
        if untold.names_images or self.last_words.endswith("ontainers:"):
            self.parts.append(Part(untold, self.below))
        if line := untold_line(untold.action.body):
            self._unindent()
            self._add(line)

    def _note(self, piece: Inserted) -> None:
        if "image" in piece.text:
            self.parts.append(Part(piece, self.below))

    def _graft(self, node: Yaml) -> int:
        self.grafts.append(node)
        return len(self.grafts) - 1

    def _unindent(self) -> int:
        """Takes the blanks off the line's end; says how many."""
        begun = "".join(self.line)
        self.line = [begun.rstrip(" ")]
        return len(begun) - len(self.line[0])


def _common_words(texts: list[str]) -> str:
    """What all of them begin with, up to a blank."""
    first, last = min(texts), max(texts)
    same = (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    common = first[: next(same, min(len(first), len(last)))]
    return common[: common.rfind(" ") + 1]
