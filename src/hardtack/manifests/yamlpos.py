"""YAML as a tree whose nodes know where they stand in the file.

`parse` gives one Document for each document of a stream. Nodes are `Mapping`, `Sequence` and
`Scalar`, each with `.line` and `.column` (from 1, true on disk), `.get("spec", "template", 0)` to
walk, `.plain()` for ordinary Python values, and `.items()`/iteration for children. An alias is the
node that it names, and keeps that node's place. What a template puts in from another file knows
it (`.file`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from hardtack.manifests.place import Place, Problem, Severity

# Nodes in one file, nodes that aliases may stand for in all, and depth: what a deployment never
# reaches, and what an alias bomb, or a file of data that takes gigabytes as a tree, passes at once.
MOST_IN_FILE = 500_000
MOST_NODES = 2_000_000
DEEPEST = 100

_COMMENT = re.compile(r"(?:^|\s)#(.*)$")
_TRUE = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"}
_SHORT_TAG = "tag:yaml.org,2002:"


@dataclass(eq=False, slots=True)  # frozen ones take three times as long to make
class Scalar:
    """A leaf. `text` is its string whatever its type; `style` one of `''`, `'`, `"`, `|`, `>`."""

    line: int
    column: int
    text: str
    style: str = ""
    tag: str = "str"
    end_line: int = 0
    file: Path | None = None

    def get(self, *path: str | int) -> Node | None:
        return None if path else self

    def plain(self) -> str | int | float | bool | None:
        """The value: str, int, float, bool or None; dates stay text."""
        if self.tag == "null":
            return None
        if self.tag == "bool":
            return self.text in _TRUE
        if self.tag in ("int", "float"):
            return _number(self.text)
        return self.text

    def __iter__(self) -> Iterator[Node]:
        return iter(())


@dataclass(eq=False, slots=True)
class Sequence:
    line: int
    column: int
    children: tuple[Node, ...] = ()
    file: Path | None = None
    tag: str = ""  # one of the text's own, `!…`

    def get(self, *path: str | int) -> Node | None:
        """The node at `path` below this one, or None."""
        if not path:
            return self
        first, *rest = path
        if isinstance(first, int) and -len(self.children) <= first < len(self.children):
            return self.children[first].get(*rest)
        return None

    def plain(self) -> list[Any]:
        return [child.plain() for child in self.children]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.children)

    def __len__(self) -> int:
        return len(self.children)


@dataclass(eq=False, slots=True)
class Mapping:
    line: int
    column: int
    entries: tuple[tuple[Scalar, Node], ...] = ()
    by_key: dict[str, Node] = field(default_factory=dict, repr=False)
    file: Path | None = None
    tag: str = ""

    def get(self, *path: str | int) -> Node | None:
        """The node at `path` (keys and indices) below this one, or None."""
        if not path:
            return self
        first, *rest = path
        child = self.by_key.get(first) if isinstance(first, str) else None
        return child.get(*rest) if child is not None else None

    def key(self, name: str) -> Scalar | None:
        """The node of the key itself, for its place."""
        return next((key for key, _ in self.entries if key.text == name), None)

    def items(self) -> Iterator[tuple[Scalar, Node]]:
        return iter(self.entries)

    def plain(self) -> dict[str, Any]:
        return {name: child.plain() for name, child in self.by_key.items()}

    def __iter__(self) -> Iterator[Node]:
        return (child for _, child in self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.by_key


Node = Mapping | Sequence | Scalar


@dataclass(frozen=True, eq=False)
class Document:
    """One YAML document: its file, its root, and the comments of its file by line.

    `hidden` means that it was found in a string of a ConfigMap or Secret, reached by `path`.
    `template` means that it's a raw Helm template, whose actions `{{ }}` are replaced by
    what they yield.
    """

    file: Path
    root: Node
    comments: dict[int, str] = field(default_factory=dict, repr=False)
    hidden: bool = False
    path: str = ""
    template: bool = False

    @property
    def kind(self) -> str:
        return text_of(self.root.get("kind"))

    @property
    def name(self) -> str:
        return text_of(self.root.get("metadata", "name"))

    def place(self, node: Node) -> Place:
        return Place(node.file or self.file, node.line, node.column)


def text_of(node: Node | None) -> str:
    """The string of a scalar; empty for anything else, and for null."""
    return node.text if isinstance(node, Scalar) and node.tag != "null" else ""


def standing_at(key: Scalar, value: Scalar) -> Scalar:
    """The value, at the key when an alias brought it from elsewhere."""
    if key.line <= value.line <= key.line + 1:
        return value
    return replace(value, line=key.line, column=key.column)


def children(node: Node | None) -> tuple[Node, ...]:
    """The items of a sequence; nothing for anything else."""
    return node.children if isinstance(node, Sequence) else ()


def parse(
    text: str,
    file: Path,
    *,
    lines: Callable[[int], int] = lambda n: n + 1,
    column: int = 0,
) -> tuple[list[Document], list[Problem]]:
    """The documents of `text`, and what is wrong with it; malformed YAML is a problem, not an
    exception, and ends the stream where it stands.

    `lines` gives the line on disk (from 1) of the text's line (from 0), `column` how far the text
    is indented there (for text that stands in a block of another file).
    """
    comments = {lines(n): body for n, body in _comments(text)}
    documents: list[Document] = []
    problems: list[Problem] = []
    builder = _Builder(file, lines, column, problems)
    try:
        loader = _Loader(text)
        try:
            while loader.check_node():
                root = builder.build(loader.get_node())
                if not (isinstance(root, Scalar) and root.tag == "null"):
                    documents.append(Document(file, root, comments))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = lines(mark.line if mark else 0)
        problems.append(
            Problem(
                Place(file, line, (mark.column if mark else 0) + 1 + column),
                f"malformed YAML: {_wording(error, text, mark)}",
            )
        )
    except yaml.YAMLError as error:
        problems.append(Problem(Place(file, lines(0)), f"malformed YAML: {_one_line(error)}"))
    except (_TooBig, RecursionError) as error:
        why = str(error) or f"it is nested more than {DEEPEST} deep"
        problems.append(Problem(Place(file, lines(0)), f"this YAML is refused: {why}"))
    return documents, problems


class _TooBig(Exception):
    """The document stands for more nodes than any deployment has."""


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Counts the nodes while they are made, at the call by which PyYAML looks for its own path
    resolvers, of which there are none."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0

    def descend_resolver(self, parent: object, index: object) -> None:
        self._nodes += 1
        if self._nodes > MOST_IN_FILE:
            raise _TooBig(f"it has more than {MOST_IN_FILE:,} values")

    def ascend_resolver(self) -> None:
        pass


class _Builder:
    """Turns PyYAML's nodes into ours, each alias's target once, counting what aliases stand for."""

    def __init__(
        self, file: Path, lines: Callable[[int], int], columns: int, problems: list[Problem]
    ) -> None:
        self.file = file
        self.lines = lines
        self.columns = columns
        self.problems = problems
        self.built: dict[int, tuple[Node, int]] = {}
        self.open: set[int] = set()

    def build(self, root: Any) -> Node:
        self.built.clear()
        return self._node(root, 0)[0]

    def _node(self, node: Any, depth: int) -> tuple[Node, int]:
        """The node and how many nodes it stands for with every alias written out."""
        identity = id(node)
        if identity in self.built:
            return self.built[identity]
        if depth > DEEPEST:
            raise _TooBig(f"it is nested more than {DEEPEST} deep")
        if identity in self.open:
            raise _TooBig("an alias contains itself")
        line, column = self.lines(node.start_mark.line), node.start_mark.column + 1
        column += self.columns
        end = self.lines(node.end_mark.line)
        if isinstance(node, yaml.ScalarNode):
            tag = node.tag.removeprefix(_SHORT_TAG)
            done: tuple[Node, int] = Scalar(line, column, node.value, node.style or "", tag, end), 1
        else:
            self.open.add(identity)
            if isinstance(node, yaml.SequenceNode):
                pairs = [self._node(child, depth + 1) for child in node.value]
                weight = 1 + sum(count for _, count in pairs)
                done = Sequence(line, column, tuple(child for child, _ in pairs)), weight
            else:
                done = self._mapping(node, line, column, depth)
            if node.tag.startswith("!"):
                done[0].tag = node.tag
            self.open.discard(identity)
        if done[1] > MOST_NODES:
            raise _TooBig(f"its aliases stand for more than {MOST_NODES:,} nodes (an alias bomb)")
        self.built[identity] = done
        return done

    def _mapping(self, node: Any, line: int, column: int, depth: int) -> tuple[Mapping, int]:
        entries: list[tuple[Scalar, Node]] = []
        merged: dict[str, Node] = {}
        own: dict[str, Node] = {}
        weight = 1
        for key_node, value_node in node.value:
            key, _ = self._node(key_node, depth + 1)
            value, count = self._node(value_node, depth + 1)
            weight += count + 1
            if not isinstance(key, Scalar):
                continue
            if key.text == "<<" and key.tag == "merge":
                sources = value.children if isinstance(value, Sequence) else (value,)
                for source in reversed(sources):
                    merged |= source.by_key if isinstance(source, Mapping) else {}
                continue
            if key.text in own:
                self.problems.append(
                    Problem(
                        Place(self.file, key.line, key.column),
                        f"the key {key.text[:80]!r} stands twice in a mapping; the last counts",
                        Severity.WARNING,
                    )
                )
            own[key.text] = value
            entries.append((key, value))
        entries += [
            (Scalar(line, column, name), value) for name, value in merged.items() if name not in own
        ]
        return Mapping(line, column, tuple(entries), merged | own), weight


def _comments(text: str) -> Iterator[tuple[int, str]]:
    number, start, at = 0, 0, text.find("#")
    while at >= 0:
        line = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        number, start = number + text.count("\n", start, line), line
        if found := _COMMENT.search(text[line:end]):
            yield number, found[1].strip()
        at = text.find("#", end)


def _number(text: str) -> int | float | str:
    digits = text.replace("_", "")
    try:
        return int(digits, 0) if not re.fullmatch(r"[-+]?0[0-7]+", digits) else int(digits, 8)
    except ValueError:
        pass
    try:
        return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text


def _wording(error: yaml.MarkedYAMLError, text: str, mark: Any) -> str:
    lines = text.split("\n")
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab indents this line; YAML allows spaces only"
    return _one_line(error.problem or error.context or "it can't be read")


def _one_line(what: object) -> str:
    return " ".join(str(what).split())[:200]
