"""What expressions and named templates of Helm yield, where values alone decide it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hardtack.manifests import marks
from hardtack.manifests.functions import FUNCTIONS, Unknown, same, shown, walk
from hardtack.manifests.origins import NOWHERE, Marks, Origins
from hardtack.manifests.place import Place
from hardtack.manifests.template import Action, Block, Branch, Node, Text, parse

DEEPEST = 20  # templates that include one another
_LONGEST = 1_000_000  # characters that a named template may yield
_MOST_STEPS = 200_000  # expressions
_TOKEN = re.compile(
    r'"(?:\\.|[^"\\])*"|`[^`]*`|\$\w*(?:\.\w+)*|\.[\w.]*|-?\d+|\w[\w-]*|:=|\)(?:\.\w+)+|[|(),=]'
)  # fmt: skip
_INDENT = re.compile(r"indent\s+([0-9]+)\s*$")
_SET = re.compile(r"(\$\w+)\s*(:?=)\s*(.*)", re.DOTALL)
_EACH = re.compile(r"(?:(\$\w+)\s*(?:,\s*(\$\w+))?\s*:=)?\s*(.*)", re.DOTALL)

_NONE: Mapping[str, Any] = {}


@dataclass
class World:
    """What `.`, `$` and the variables stand for at one place of a template."""

    dot: Any
    root: Any
    variables: dict[str, Any] = field(default_factory=dict)
    outer: World | None = None
    declared: set[str] = field(default_factory=set)  # here, not in a block around

    def inner(self, variables: Mapping[str, Any] = _NONE) -> World:
        """The world of a block: its variables end with it."""
        return World(self.dot, self.root, self.variables | dict(variables), self, set(variables))

    def again(self) -> World:
        """This block's world when an earlier turn of its loop may have set variables anew."""
        if self.outer:
            own = {name: self.variables[name] for name in self.declared}
            self.variables = self.outer.variables | own
        return self

    def declare(self, variable: str, value: Any) -> None:
        self.variables[variable] = value
        self.declared.add(variable)

    def set(self, variable: str, value: Any) -> None:
        """Sets the variable anew, up to the block that declares it."""
        world: World | None = self
        while world:
            world.variables[variable] = value
            world = None if variable in world.declared else world.outer

    def forget(self, variable: str) -> None:
        """The variable can't be told any more, here and in the blocks around."""
        world: World | None = self
        while world:
            world.variables[variable] = Unknown(f"{variable} is set again while the template runs")
            world = world.outer


class Named(NamedTuple):
    """A named template, and the file that defines it."""

    nodes: list[Node]
    file: Path


@dataclass
class Evaluator:
    """Expressions over `named` templates. `steps` bounds what one template may take; with `marks`
    what named templates yield is marked with where it stands."""

    named: Mapping[str, Named]
    steps: int = 0
    marks: Marks | None = None
    file: Path | None = None  # of the named template that is being rendered
    unknown: Callable[[str], str] | None = None

    def leniently(self, unknown: Callable[[str], str]) -> Evaluator:
        """One for which what can't be told in a named template is a mark that `unknown` makes of
        the reason, and no reason to give the whole of it up."""
        return Evaluator(self.named, unknown=unknown)

    def value(self, expression: str, world: World, depth: int = 0) -> Any:
        """What the expression yields; None where it's a value that isn't set. Raises Unknown."""
        self.steps += 1
        if depth > DEEPEST or self.steps > _MOST_STEPS:
            raise Unknown("templates include one another without end")
        tokens = _TOKEN.findall(expression)
        if not tokens:
            raise Unknown(f"{{{{ {expression[:60]} }}}} is not an expression")
        value, end = self._pipeline(tokens, 0, world, depth)
        if end < len(tokens):
            raise Unknown(f"{{{{ {expression[:60]} }}}} is not resolved")
        return value

    def origins(self, expression: str, world: World, text: str) -> Origins:
        """Where the lines of `text`, which the expression yields, stand in named templates."""
        marks = Marks()
        try:
            marked = shown(Evaluator(self.named, marks=marks).value(expression, world))
        except Unknown:  # a function that takes no marked text
            return NOWHERE
        return marks.origins(marked, text)

    def assigned(
        self, body: str, world: World, depth: int = 0, *, is_certain: bool = False
    ) -> bool:
        """Sets the variable where the action is `$x := ...`; says whether it is.

        `$x = ...` sets a variable of an outer block: not told from then on, unless it `is_certain`
        that the action is run.
        """
        if not (found := _SET.fullmatch(body)):
            return False
        if found[2] == "=" and not is_certain:
            world.forget(found[1])
            return True
        try:
            value = self.value(found[3], world, depth)
        except Unknown as why:
            value = why
        if found[2] == "=":
            world.set(found[1], value)
        else:
            world.declare(found[1], value)
        return True

    def items(self, condition: str, world: World) -> list[World]:
        """The worlds that `range` goes through."""
        each = _EACH.fullmatch(condition)
        first, second, expression = each.groups() if each else (None, None, condition)
        over = self.value(expression, world)
        pairs = list(over.items() if isinstance(over, dict) else enumerate(_list(over)))
        worlds = []
        for key, value in pairs[:1000]:
            names: dict[str, Any] = {}
            if first:
                names = {first: key, second: value} if second else {first: value}
            inner = world.inner(names)
            inner.dot = value
            worlds.append(inner)
        return worlds

    def entered(self, condition: str, world: World) -> World:
        """The world inside `with`."""
        each = _EACH.fullmatch(condition)
        name, _, expression = each.groups() if each else (None, None, condition)
        value = self.value(expression, world)
        inner = world.inner({name: value} if name else {})
        inner.dot = value
        return inner

    def rendered(self, nodes: list[Node], world: World, depth: int = 0) -> str:
        """What a template yields. Raises Unknown."""
        out: list[str] = []
        length = 0
        for node in nodes:
            self.steps += 1
            if isinstance(node, Text):
                out.append(self._text(node))
            elif isinstance(node, Action):
                if not node.body.startswith("/*") and not self.assigned(
                    node.body, world, depth, is_certain=True
                ):
                    out.append(self._put_in(node, self._shown(node, world, depth)))
            elif node.keyword != "define":
                out.append(self._block(node, world, depth))
            length += len(out[-1]) if out else 0
            if length > _LONGEST or self.steps > _MOST_STEPS:
                raise Unknown("it yields more than any manifest holds")
        return "".join(out)

    def _shown(self, node: Action, world: World, depth: int) -> str:
        try:
            return shown(self.value(node.body, world, depth))
        except Unknown as why:
            if self.unknown is None or depth >= DEEPEST:
                raise
            if not node.bare:
                return self.unknown(str(why))
            line = untold_line(node.body)
            return f"\n{line}\n" if line else ""

    def _text(self, node: Text) -> str:
        if self.marks is None or self.file is None:
            return node.shown
        return self.marks.text(node.shown, Place(self.file, node.line, node.column))

    def _put_in(self, node: Action, text: str) -> str:
        if self.marks is None or self.file is None:
            return text
        return self.marks.value(text, Place(self.file, node.line, node.column))

    def _block(self, block: Block, world: World, depth: int) -> str:
        try:
            return self._known_block(block, world, depth)
        except Unknown as why:
            if self.unknown is None or depth >= DEEPEST:
                raise
            inner = world.inner()
            if block.keyword in ("range", "with"):
                inner = unknown_world(world, block.branches[0].condition, str(why))
            return "".join(self.rendered(b.nodes, inner, depth + 1) for b in block.branches)

    def _known_block(self, block: Block, world: World, depth: int) -> str:
        if block.keyword == "range":
            worlds = self.items(block.branches[0].condition, world)
            if worlds:
                body = block.branches[0].nodes
                return "".join(self.rendered(body, each.again(), depth + 1) for each in worlds)
        else:
            branch = self.chosen(block, world, depth)
            if branch is not None:
                inner = world.inner()
                if block.keyword == "with" and branch is block.branches[0]:
                    inner = self.entered(branch.condition, world)
                return self.rendered(branch.nodes, inner, depth + 1)
        last = block.branches[-1]
        is_else = len(block.branches) > 1 and not last.condition
        return self.rendered(last.nodes, world.inner(), depth + 1) if is_else else ""

    def chosen(self, block: Block, world: World, depth: int = 0) -> Branch | None:
        """The branch whose condition holds, else's when none does, None without one."""
        for branch in block.branches:
            each = _EACH.fullmatch(branch.condition)
            condition = each[3] if each else branch.condition
            if not condition or self.value(condition, world, depth + 1):
                return branch
        return None

    def _pipeline(self, tokens: list[str], at: int, world: World, depth: int) -> tuple[Any, int]:
        if depth > DEEPEST:
            raise Unknown("its brackets are nested too deep")
        piped: list[Any] = []
        while True:
            begin = at
            words: list[Callable[[], Any]] = []
            while at < len(tokens) and tokens[at][0] not in "|)":
                if tokens[at] == "(":
                    inner, at = self._pipeline(tokens, at + 1, world, depth + 1)
                    if at >= len(tokens):
                        raise Unknown("its brackets are not closed")
                    if field_of := tokens[at][1:]:  # `(…).field`
                        inner = walk(inner, field_of[1:].split("."))
                    at += 1
                    words.append(partial(same, inner))
                else:
                    words.append(partial(operand, tokens[at], world))
                    at += 1
            if not words:
                raise Unknown("an expression is empty")
            piped = [self._call(tokens[begin], words, piped, world, depth)]
            if at >= len(tokens) or tokens[at][0] == ")":
                return piped[0], at
            at += 1

    def _call(
        self, name: str, words: list[Callable[[], Any]], piped: list[Any], world: World, depth: int
    ) -> Any:
        if not re.fullmatch(r"[a-zA-Z]\w*", name) or name in ("true", "false", "nil"):
            value = words[0]()
            if len(words) > 1 or piped:
                raise Unknown(f"{name[:60]} is given arguments")
            return value
        given = [word() for word in words[1:]] + piped
        if name in ("include", "template"):
            return self._include(given, world, depth)
        if name == "tpl" and len(given) == 2:
            return self._rendered_of(None, parse(str(given[0])), given[1], depth)
        try:
            return FUNCTIONS[name](*given)
        except KeyError:
            raise Unknown(f"the function {name} is not resolved") from None
        except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise Unknown(f"{name} can't be resolved: {error}") from error

    def _include(self, given: list[Any], world: World, depth: int) -> str:
        name = str(given[0]) if given else ""
        if name not in self.named:
            raise Unknown(f"no template named {name!r} is in the chart's helpers")
        if depth > DEEPEST:
            raise Unknown("templates include one another without end")
        dot = given[1] if len(given) > 1 else world.dot
        named = self.named[name]
        return self._rendered_of(named.file, named.nodes, dot, depth)

    def _rendered_of(self, file: Path | None, nodes: list[Node], dot: Any, depth: int) -> str:
        outer, self.file = self.file, file
        try:
            return self.rendered(nodes, World(dot, dot), depth + 1)
        finally:
            self.file = outer


def unknown_world(world: World, condition: str, why: str) -> World:
    """A block's world when what it goes through can't be told."""
    names = re.findall(r"\$\w+", condition.partition(":=")[0]) if ":=" in condition else []
    inner = world.inner(dict.fromkeys(names, Unknown(why)))
    inner.dot = Unknown(why)
    return inner


def untold_line(body: str) -> str:
    """What stands for the entries that an action puts in, where they can't be told: nothing unless
    it says how far they are indented."""
    indent = _INDENT.search(body)
    return " " * min(int(indent[1]), 100) + marks.untold_entry(body) if indent else ""


def operand(word: str, world: World) -> Any:
    """What one word stands for."""
    if word[0] == '"':
        try:
            return json.loads(word)
        except ValueError:
            return word[1:-1]
    if word[0] == "`":
        return word[1:-1]
    if word in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[word]
    if re.fullmatch(r"-?\d+", word):
        return int(word)
    if word[0] == "$":
        name, *path = word.split(".")
        if name != "$" and name not in world.variables:
            raise Unknown(f"{name} is set while the template runs")
        return walk(world.root if name == "$" else world.variables[name], path)
    if word[0] == ".":
        return walk(world.dot, [step for step in word.split(".") if step])
    raise Unknown(f"{word[:60]} is not resolved")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
