"""What a Helm template yields, piece by piece, with every branch of its conditions in turn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hardtack.manifests.expressions import Evaluator, World, unknown_world
from hardtack.manifests.functions import Unknown, shown
from hardtack.manifests.grafts import grown
from hardtack.manifests.holes import Hole, opened
from hardtack.manifests.origins import NOWHERE, Origins
from hardtack.manifests.template import Action, Block, Branch, Node, Text, breaks
from hardtack.manifests.yamlpos import Node as Yaml

_MOST_WORLDS = 1000
_NAMES_CONTAINERS = re.compile(r"container|sidecar|image", re.IGNORECASE)
_NAMED = re.compile(r'(?:include|template)\s+"([^"]+)"')
_MATTERS = re.compile(
    r"image|command:|args:|containers:|env:|envFrom|name:|volume|mount|resources:|securityContext|Probe"
    r"|privileged|requests|limits|restartPolicy|hostPath|verbs|kind:|nodeSelector", re.IGNORECASE,
)  # fmt: skip
_SILENT = re.compile(r"/\*|(?:break|continue|fail)\b")


@dataclass(frozen=True)
class Words:
    """The template's own text, line breaks and all."""

    text: str


@dataclass(frozen=True)
class Untold:
    """What an action yields, or whether a condition holds, can't be told, `why` says;
    `names_images` where images may be among it."""

    action: Action
    why: str
    names_images: bool = False


@dataclass(frozen=True)
class Inserted:
    """More than a scalar that an action yields: `text`, the `origins` of its lines, and the map or
    sequence that it is where that may say something about containers."""

    action: Action
    text: str
    origins: Origins = NOWHERE
    grown: Yaml | None = None


Value = str | Inserted | Untold


@dataclass(frozen=True)
class Values:
    """What an action within a line yields in each turn of the loop around; those of one `frame`
    are of the same turns."""

    each: tuple[Value, ...]
    frame: int


@dataclass(frozen=True)
class Alternatives:
    """A condition within a line: the pieces of each branch, and the number of the one that the
    chart's own values choose (past the last: none of them; -1: that can't be told)."""

    branches: tuple[tuple[Piece, ...], ...]
    chosen: int
    frame: int


@dataclass(frozen=True)
class Edge:
    """Where a condition begins or ends a branch within a line."""

    action: Action


Piece = Words | Inserted | Untold | Values | Alternatives | Edge


@dataclass(frozen=True)
class Turns:
    """The worlds that nodes are gone through in: more than one inside range."""

    worlds: list[World]
    frame: int = 0


@dataclass(frozen=True)
class Reader:
    """Reads a template's nodes in the order of their running. With `only_chosen` a condition's
    branches are left blank but for the one that the values choose. `holes` grows by what can't be
    told within the text that named templates yield."""

    evaluator: Evaluator
    holes: list[Hole]
    only_chosen: bool = False
    frames: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def pieces(self, nodes: list[Node], turns: Turns) -> Iterator[Piece]:
        for node in nodes:
            if isinstance(node, Text):
                keeps_lines = node.shown.count("\n") == node.raw.count("\n")
                yield Words(node.shown if keeps_lines else node.raw)
            elif isinstance(node, Action):
                yield from self._action(node, turns)
            else:
                yield from self._block(node, turns)

    def _action(self, node: Action, turns: Turns) -> Iterator[Piece]:
        if not self._says_nothing(node, turns.worlds):
            if node.bare:
                yield self._whole(node, turns.worlds[0])
            else:
                values = tuple(self._value(node, world) for world in turns.worlds)
                yield Values(values, turns.frame)
        yield Words("\n" * node.breaks)

    def _says_nothing(self, node: Action, worlds: list[World]) -> bool:
        if not node.body or _SILENT.match(node.body):
            return True
        return all(self.evaluator.assigned(node.body, world) for world in worlds)

    def _value(self, node: Action, world: World) -> Value:
        """What an action within a line yields: its one line, where it has no more."""
        try:
            value = self.evaluator.value(node.body, world)
            if value is None:
                raise Unknown(f"{{{{ {node.body[:60]} }}}} has no value in the chart's values")
            text = shown(value)
        except Unknown as why:
            return self._partly(node, world) or self._untold(node, str(why))
        one_line = text.strip()
        if "\n" not in one_line and not text.lstrip(" ").startswith("\n"):
            return one_line
        return self._inserted(node, world, text)

    def _whole(self, node: Action, world: World) -> Inserted | Untold:
        """What an action that has its line to itself yields."""
        try:
            return self._inserted(node, world, shown(self.evaluator.value(node.body, world)))
        except Unknown as why:
            return self._partly(node, world) or self._untold(node, str(why))

    def _partly(self, node: Action, world: World) -> Inserted | None:
        """What named templates yield of which some can't be told, with holes in it; None where
        nothing of several lines can be."""
        if not _NAMED.search(node.body):
            return None
        lenient = self.evaluator.leniently(lambda why: opened(self.holes, why))
        try:
            text = shown(lenient.value(node.body, world))
        except Unknown:
            return None
        return self._inserted(node, world, text) if "\n" in text.strip() else None

    def _inserted(self, node: Action, world: World, text: str) -> Inserted:
        if not _MATTERS.search(text):
            return Inserted(node, text)
        named = _NAMED.search(node.body)
        origins = self.evaluator.origins(node.body, world, text) if named else NOWHERE
        return Inserted(node, text, origins, grown(text, origins, node.line))

    def _untold(self, node: Action, why: str) -> Untold:
        known = self.evaluator.named
        bodies = [known[name].nodes for name in _NAMED.findall(node.body) if name in known]
        is_list = "toYaml" in node.body and _NAMES_CONTAINERS.search(node.body)
        return Untold(node, why, bool(is_list) or any(_mentions_image(body) for body in bodies))

    def _block(self, block: Block, turns: Turns) -> Iterator[Piece]:
        if block.keyword == "define":
            yield Words("\n" * breaks([block]))
            return
        if not block.branches[0].head.bare and not breaks([block]):
            yield self._alternatives(block, turns)
            return
        chosen = self._chosen(block, turns.worlds[0]) if self.only_chosen else -1
        for number, branch in enumerate(block.branches):
            yield from _edge(branch.head)
            if block.keyword == "if" and chosen not in (-1, number):
                yield Words("\n" * breaks(branch.nodes))
            else:
                yield from self.pieces(branch.nodes, self._inside(block, branch, turns))
        if block.end:
            yield from _edge(block.end)

    def _alternatives(self, block: Block, turns: Turns) -> Alternatives:
        branches = [
            tuple(self.pieces(branch.nodes, Turns([world])))
            for branch in block.branches
            for world in self._inside(block, branch, turns).worlds
        ]
        if len(block.branches) == 1 or block.branches[-1].condition:
            branches.append(())
        return Alternatives(
            tuple(branches), self._chosen(block, turns.worlds[0]), next(self.frames)
        )

    def _chosen(self, block: Block, world: World) -> int:
        """The number of the branch that the chart's own values choose; -1 where they don't."""
        if block.keyword != "if":
            return 0
        try:
            branch = self.evaluator.chosen(block, world)
        except Unknown:
            return -1
        return next((n for n, each in enumerate(block.branches) if each is branch),
                    len(block.branches))  # fmt: skip

    def _inside(self, block: Block, branch: Branch, turns: Turns) -> Turns:
        if block.keyword not in ("range", "with") or branch is not block.branches[0]:
            return Turns([world.inner() for world in turns.worlds], next(self.frames))
        inner: list[World] = []
        for world in turns.worlds:
            try:
                if block.keyword == "with":
                    inner.append(self.evaluator.entered(branch.condition, world))
                else:
                    inner += self.evaluator.items(branch.condition, world)
            except Unknown as why:
                inner.append(unknown_world(world, branch.condition, str(why)))
        if not inner:
            nothing = f"{{{{ {branch.head.body[:60]} }}}} goes through nothing that has a value"
            inner.append(unknown_world(turns.worlds[0], branch.condition, nothing))
        return Turns(inner[:_MOST_WORLDS], next(self.frames))


def _edge(action: Action) -> Iterator[Piece]:
    if not action.bare:
        yield Edge(action)
    yield Words("\n" * action.breaks)


def _mentions_image(nodes: list[Node]) -> bool:
    return any(
        "image:" in node.raw
        if isinstance(node, Text)
        else isinstance(node, Block) and any(_mentions_image(part.nodes) for part in node.branches)
        for node in nodes
    )
