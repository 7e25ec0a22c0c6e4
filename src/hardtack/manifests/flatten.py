"""Raw Helm templates as YAML of the same lines: actions replaced by what they yield."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.manifests.build import CLOSE, NO_DIGEST, OPEN, Choice, Hole
from hardtack.manifests.expressions import INDENT, Evaluator, World, unknown_world
from hardtack.manifests.functions import Unknown, shown
from hardtack.manifests.marks import graft_mark, graft_tag, untold_entry
from hardtack.manifests.origins import NOWHERE, Origins
from hardtack.manifests.template import Action, Block, Branch, Node, Text, breaks
from hardtack.manifests.yamlpos import Mapping as Entries
from hardtack.manifests.yamlpos import Node as Yaml
from hardtack.manifests.yamlpos import Scalar, parse
from hardtack.manifests.yamlpos import Sequence as Items

_MOST_WORLDS = 1000
_CONTAINERS = re.compile(r"^\s*(containers|initContainers|ephemeralContainers):", re.MULTILINE)
_NAMES_CONTAINERS = re.compile(r"container|sidecar|image", re.IGNORECASE)
_NAMED = re.compile(r'(?:include|template)\s+"([^"]+)"')
_MATTERS = re.compile(
    r"image|command:|args:|containers:|env:|envFrom|name:|volume|mount|resources:|securityContext|Probe"
    r"|privileged|requests|limits|restartPolicy|hostPath|verbs|kind:|nodeSelector", re.IGNORECASE,
)  # fmt: skip
_SILENT = re.compile(r"/\*|(?:break|continue|fail)\b")
_KEY = re.compile(r"\s*[\w.-]+:\s*")
_FILE = re.compile(r'\.Files\.(?:Get|Glob|Lines)\s+"([^"]+)"')


@dataclass(frozen=True)
class Inserted:
    """Text that an action puts onto its line, with the list of containers it stands below, and
    where named templates have its lines; `reason` in its place where it can't be told."""

    line: int
    action: str
    below: str
    text: str
    reason: str = ""
    origins: Origins = NOWHERE


@dataclass
class Flat:
    """A template as YAML of the same lines. What can't be resolved, or may be one of several
    texts, stands there as OPEN, its number in `holes`, CLOSE. `files` are the chart's files that
    it takes in by `.Files.Get` and `.Files.Glob`. `grafts` is what actions put in of more than one
    line, each with a mark in the text."""

    text: str
    holes: tuple[Hole, ...]
    inserted: tuple[Inserted, ...]
    files: tuple[str, ...]
    grafts: tuple[Yaml, ...] = ()


def flatten(
    nodes: list[Node], evaluator: Evaluator, root: Any, *, only_chosen: bool = False
) -> Flat:
    """With `only_chosen` a condition's branches are left blank but for the one that the values
    choose; else all stand there, as other values may choose them."""
    work = _Flattening(evaluator, only_chosen=only_chosen)
    work.walk(nodes, [World(root, root)])
    # A line of blanks alone would be the first of a block scalar, and give its indentation.
    text = re.sub(r"(?m)^[ \t]+$", "", "".join(work.out))
    text = re.sub(r"(?m)@sha256:$", NO_DIGEST, text)  # which would be a key
    return Flat(
        text, tuple(work.holes), tuple(work.inserted), tuple(work.files),
        tuple(work.grafts),
    )  # fmt: skip


@dataclass
class _Flattening:
    evaluator: Evaluator
    only_chosen: bool = False
    out: list[str] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    inserted: list[Inserted] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    grafts: list[Yaml] = field(default_factory=list)
    line: int = 1
    below: str = ""  # the list of containers that was begun last
    before: str = ""  # the last line that isn't blank, as far as it was read
    blank: bool = True  # whether the line is blank so far
    frames: int = 0

    def walk(self, nodes: list[Node], worlds: list[World]) -> None:
        """`worlds` are those that the nodes are gone through in: more than one inside range."""
        for node in nodes:
            if isinstance(node, Text):
                self.text(node)
            elif isinstance(node, Action):
                self.action(node, worlds)
            else:
                self.block(node, worlds)

    def emit(self, text: str) -> None:
        self.out.append(text)
        self.line += text.count("\n")
        self.blank = not text.rpartition("\n")[2].strip() and (self.blank or "\n" in text)

    def text(self, node: Text) -> None:
        kept = node.shown if node.shown.count("\n") == node.raw.count("\n") else node.raw
        self.emit(kept)
        if lists := _CONTAINERS.findall(kept):
            self.below = lists[-1]
        if stripped := kept.rstrip():
            self.before = stripped.rpartition("\n")[2].strip()

    def action(self, node: Action, worlds: list[World]) -> None:
        self.files += _FILE.findall(node.body)
        line = self.line
        if self._says_nothing(node, worlds):
            pass
        elif node.bare:
            self.insert(node, worlds[0], line)
        else:
            values = [self.value(node, world, line) for world in worlds]
            self.emit(self.hole(values, id(worlds)))
        self.emit("\n" * node.breaks)

    def _says_nothing(self, node: Action, worlds: list[World]) -> bool:
        if (
            not node.body
            or node.body.startswith("/*")
            or re.match(r"(?:break|continue|fail)\b", node.body)
        ):
            return True
        return all(self.evaluator.assigned(node.body, world) for world in worlds)

    def value(self, node: Action, world: World, line: int) -> str:
        """What the action yields in one world, on one line."""
        try:
            value = self.evaluator.value(node.body, world)
            if value is None:
                raise Unknown(f"{{{{ {node.body[:60]} }}}} has no value in the chart's values")
            text = shown(value)
        except Unknown as why:
            text = self.partly(node, world)
            if not text:
                return self.unknown_value(node, str(why))
        stripped = text.strip()
        begins = text.lstrip(" ").startswith("\n")
        if "\n" not in stripped and not begins:
            return stripped
        self.put_in(node, world, line, text)
        graft = self.grafted(node, world, line, text)
        # `{{-` has taken the blank away that YAML needs there.
        if graft is None:
            is_scalar = not ("\n" in stripped or ": " in stripped or stripped.startswith("- "))
            return f" {stripped}" if is_scalar else ""
        return f" {graft_tag(graft)}"

    def unknown_value(self, node: Action, why: str) -> str:
        """A hole, or an untold entry where the action puts in more than a scalar."""
        if "indent" in node.body or "toYaml" in node.body:
            entry = untold_entry(f"{{{{ {node.body} }}}}")
            begun = "".join(self.out[-20:]).rpartition("\n")[2]
            blank = "" if begun.endswith(" ") else " "
            begun = begun.strip()
            if begun == "-":
                return f"{blank}{entry}"
            if begun.endswith(":"):
                return f" {{{entry}}}"
        return self.unknown(why)

    def insert(self, node: Action, world: World, line: int) -> None:
        """An action that has its line to itself: what it yields is more than a scalar."""
        try:
            text = shown(self.evaluator.value(node.body, world))
        except Unknown as why:
            text = self.partly(node, world)
            if not text:
                self.untold(node, line, str(why))
                return
        self.put_in(node, world, line, text)
        self.join(node, world, line, text)

    def partly(self, node: Action, world: World) -> str:
        """What named templates yield of which some can't be told, with holes in it; empty where
        nothing of several lines can be."""
        if not _NAMED.search(node.body):
            return ""
        before = len(self.holes)
        try:
            text = shown(self.evaluator.leniently(self.unknown).value(node.body, world))
        except Unknown:
            text = ""
        if "\n" in text.strip():
            return text
        del self.holes[before:]
        return ""

    def untold(self, node: Action, line: int, why: str) -> None:
        known = self.evaluator.named
        bodies = [known[name].nodes for name in _NAMED.findall(node.body) if name in known]
        if (
            any(_mentions_image(body) for body in bodies)
            or re.search(r"ontainers:$", self.before)
            or ("toYaml" in node.body and _NAMES_CONTAINERS.search(node.body))
        ):
            self.inserted.append(Inserted(line, node.body, self.below, "", why))
        if indent := INDENT.search(node.body):
            self.begin_line()
            self.emit(" " * min(int(indent[1]), 100) + untold_entry(f"{{{{ {node.body} }}}}"))

    def put_in(self, node: Action, world: World, line: int, text: str) -> None:
        """Keeps text of more than one line, where it may name images."""
        if "image" not in text:
            return
        named = _NAMED.search(node.body)
        origins = self.evaluator.origins(node.body, world, text) if named else NOWHERE
        self.inserted.append(Inserted(line, node.body, self.below, text, origins=origins))

    def join(self, node: Action, world: World, line: int, text: str) -> None:
        """A mark, at the text's indentation, by which its entries or items join those around."""
        graft = self.grafted(node, world, line, text)
        if graft is None:
            return
        width = self.begin_line()
        lines = text.split("\n")
        indents = [len(each) - len(each.lstrip(" ")) for each in lines if each.strip()]
        if lines[0].strip():
            indents[0] += width
        joins = "- " if isinstance(self.grafts[graft], Items) else "<<: "
        self.emit(" " * min(indents) + joins + graft_mark(graft))

    def begin_line(self) -> int:
        """Takes the blanks back that the line has so far; says how many."""
        width = 0
        while self.out and self.out[-1].endswith(" "):
            kept = self.out[-1].rstrip(" ")
            width += len(self.out.pop()) - len(kept)
            self.out.append(kept)
            if kept:
                break
            self.out.pop()
        return width

    def grafted(self, node: Action, world: World, line: int, text: str) -> int | None:
        """The number of the graft that the text is kept as, where it's a map or a sequence that may
        say something about containers."""
        if not _MATTERS.search(text):
            return None
        documents, _ = parse(text, Path(), lines=lambda n: n)
        if len(documents) != 1 or isinstance(documents[0].root, Scalar):
            return None
        named = _NAMED.search(node.body)
        origins = self.evaluator.origins(node.body, world, text) if named else NOWHERE
        _place(documents[0].root, origins, line)
        self.grafts.append(documents[0].root)
        return len(self.grafts) - 1

    def unknown(self, why: str) -> str:
        self.holes.append(why)
        return f"{OPEN}{len(self.holes) - 1}{CLOSE}"

    def hole(self, values: list[str], frame: int) -> str:
        """The one text that all worlds have, or a hole that may be each."""
        if len(set(values)) == 1:
            return values[0]
        self.holes.append(Choice(frame, tuple(values)))
        return f"{OPEN}{len(self.holes) - 1}{CLOSE}"

    def block(self, block: Block, worlds: list[World]) -> None:
        if block.keyword == "define":
            self.emit("\n" * breaks([block]))
            return
        head = block.branches[0].head
        if not head.bare and not breaks([block]):
            self.inline(block, worlds)
            return
        chosen = self._chosen(block, worlds[0]) if self.only_chosen else -1
        for number, branch in enumerate(block.branches):
            self._edge(branch.head, worlds)
            if block.keyword == "if" and chosen not in (-1, number):
                self.emit("\n" * breaks(branch.nodes))
            else:
                self.walk(branch.nodes, self.inside(block, branch, worlds))
        if block.end:
            self._edge(block.end, worlds)

    def _edge(self, action: Action, worlds: list[World]) -> None:
        self.files += _FILE.findall(action.body)
        if not action.bare:
            self.emit(self.unknown(f"a condition, {{{{ {action.body[:60]} }}}}, chooses it"))
        self.emit("\n" * action.breaks)

    def inline(self, block: Block, worlds: list[World]) -> None:
        """A condition within a line: each branch is an alternative, but one that isn't chosen and
        stands on values that aren't set."""
        options: list[str] = []
        for branch in block.branches:
            inner = self.inside(block, branch, worlds)
            options += [self._option(branch.nodes, world) for world in inner]
        if len(block.branches) == 1 or block.branches[-1].condition:
            options.append("")
        chosen = self._chosen(block, worlds[0])
        kept = [
            option
            for number, option in enumerate(options)
            if number == chosen or not self._stands_on_nothing(option)
        ] or options[-1:]
        if self.blank:
            kept = [option for option in kept if option.strip()] or [""]
            if all(_KEY.fullmatch(option) for option in kept):  # of what stands below
                kept = [options[chosen] if 0 <= chosen < len(options) else kept[-1]]
        common = _common(kept) if len(set(kept)) > 1 else ""
        common = common[: common.rfind(" ") + 1]
        self.frames += 1
        self.emit(common + self.hole([option[len(common) :] for option in kept], -self.frames))

    def _option(self, nodes: list[Node], world: World) -> str:
        part = _Flattening(self.evaluator, self.only_chosen,
                           holes=self.holes, inserted=self.inserted,
                           files=self.files, grafts=self.grafts, line=self.line, below=self.below,
                           blank=False, frames=self.frames)  # fmt: skip
        part.walk(nodes, [world])
        self.frames = part.frames
        return "".join(part.out)

    def _stands_on_nothing(self, option: str) -> bool:
        holes = [self.holes[int(n)] for n in re.findall(f"{OPEN}([0-9]+){CLOSE}", option)]
        return any(isinstance(hole, str) and "has no value" in hole for hole in holes) or (
            option.strip() in ("/", ":", "@", "-", '""', "@sha256:", "sha256:")
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

    def inside(self, block: Block, branch: Branch, worlds: list[World]) -> list[World]:
        if block.keyword not in ("range", "with") or branch is not block.branches[0]:
            return [world.inner() for world in worlds]
        inner: list[World] = []
        for world in worlds:
            try:
                if block.keyword == "with":
                    inner.append(self.evaluator.entered(branch.condition, world))
                else:
                    inner += self.evaluator.items(branch.condition, world)
            except Unknown as why:
                inner.append(unknown_world(world, branch.condition, str(why)))
        if not inner:
            nothing = f"{{{{ {branch.head.body[:60]} }}}} goes through nothing that has a value"
            inner.append(unknown_world(worlds[0], branch.condition, nothing))
        return inner[:_MOST_WORLDS]


def _place(node: Yaml, origins: Origins, line: int) -> None:
    """Moves the nodes, whose lines count from 0, to where the named templates have them, else to
    the action's line."""
    place = origins.of(node.line, node.column)
    if isinstance(node, Scalar):
        node.end_line += (place.line if place else line) - node.line
        if not place:
            node.style = node.style.strip("|>") and '"'
    node.line, node.column = (place.line, place.column) if place else (line, 1)
    node.file = place.file if place else None
    if isinstance(node, Entries):
        for key, _ in node.items():
            _place(key, origins, line)
    for child in node:
        _place(child, origins, line)


def _common(texts: list[str]) -> str:
    """What all of them begin with."""
    first, last = min(texts), max(texts)
    same = (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, min(len(first), len(last)))]


def _mentions_image(nodes: list[Node]) -> bool:
    return any(
        "image:" in node.raw
        if isinstance(node, Text)
        else isinstance(node, Block) and any(_mentions_image(part.nodes) for part in node.branches)
        for node in nodes
    )
