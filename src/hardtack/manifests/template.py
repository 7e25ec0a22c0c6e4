"""The syntax of Go templates: text, actions `{{ }}`, and blocks of them, whatever they mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

DEEPEST = 60  # blocks in blocks; deeper ones are read as if they weren't blocks

_COMMENT = re.compile(r"\s*/\*.*?\*/\s*", re.DOTALL)
# Piece by piece, not by a possessive repeat: Debian 12's Python (3.11.2) misses matches of those.
_PIECE = re.compile(r'[^"`}-]+|"[^"\\]*(?:\\.[^"\\]*)*"|`[^`]*`|\}(?!\})|-(?!\}\})', re.DOTALL)
_END = re.compile(r"(-?)\}\}")
_OPENING = re.compile(r"(if|range|with|define|block)\b\s*(.*)", re.DOTALL)
_ELSE = re.compile(r"else\b\s*(?:if\b)?\s*(.*)", re.DOTALL)
_NAME = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Text:
    """Text as it stands, and as it's `shown` once the actions beside it have trimmed it; `line` and
    `column` (from 1) are those of what is shown."""

    raw: str
    shown: str
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class Action:
    """`{{ body }}`; `bare` where nothing but actions stand on its lines."""

    body: str
    breaks: int  # newlines inside the action
    bare: bool = False
    line: int = 1
    column: int = 1


@dataclass(frozen=True)
class _Found:
    """An action as it stands; `end` is behind its braces."""

    body: str
    end: int
    trims_before: bool
    trims_after: bool


@dataclass
class Branch:
    """A block's part: its condition (empty for else), and what stands in it."""

    head: Action
    condition: str
    nodes: list[Node] = field(default_factory=list)


@dataclass
class Block:
    """if, range, with, define or block, up to its end; `end` is None where that is missing."""

    keyword: str
    branches: list[Branch]
    end: Action | None = None


Node = Text | Action | Block


def parse(text: str) -> list[Node]:
    """The template's nodes. Any text is one: an end too many is an action like any other, and
    an action that is never closed is text."""
    top: list[Node] = []
    open_blocks: list[Block] = []
    here = top
    for token in _tokens(text):
        if isinstance(token, Text):
            here.append(token)
        elif (opening := _OPENING.match(token.body)) and len(open_blocks) < DEEPEST:
            block = Block(opening[1], [Branch(token, opening[2])])
            here.append(block)
            open_blocks.append(block)
            here = block.branches[0].nodes
        elif open_blocks and (other := _ELSE.match(token.body)):
            open_blocks[-1].branches.append(Branch(token, other[1]))
            here = open_blocks[-1].branches[-1].nodes
        elif open_blocks and token.body == "end":
            open_blocks.pop().end = token
            here = open_blocks[-1].branches[-1].nodes if open_blocks else top
        else:
            here.append(token)
    return top


def defines(nodes: list[Node]) -> Iterator[tuple[str, list[Node]]]:
    """(name, body) of the named templates."""
    for node in nodes:
        if isinstance(node, Block):
            named = _NAME.match(node.branches[0].condition)
            if node.keyword in ("define", "block") and named:
                yield named[1], node.branches[0].nodes
            for branch in node.branches:
                yield from defines(branch.nodes)


def bodies(nodes: list[Node]) -> Iterator[str]:
    """What the actions say, conditions too, but those of named templates."""
    for node in nodes:
        if isinstance(node, Action):
            yield node.body
        elif isinstance(node, Block) and node.keyword != "define":
            for branch in node.branches:
                yield branch.head.body
                yield from bodies(branch.nodes)


def faults(nodes: list[Node]) -> Iterator[tuple[int, int, str]]:
    """(line, column, what is wrong) for what keeps Helm from reading the template."""
    for node in nodes:
        if isinstance(node, Text):
            if (at := node.shown.find("{{")) >= 0:
                yield *_behind(node.shown[:at], node.line, node.column), "`{{` is never closed"
        elif isinstance(node, Action):
            if node.body == "end" or _ELSE.fullmatch(node.body):
                yield node.line, node.column, f"`{{{{ {node.body[:60]} }}}}` belongs to no block"
        else:
            head = node.branches[0].head
            if node.end is None:
                yield head.line, head.column, f"`{{{{ {head.body[:60]} }}}}` has no `{{{{ end }}}}`"
            for branch in node.branches:
                yield from faults(branch.nodes)


def breaks(nodes: list[Node]) -> int:
    """Newlines in the source of these nodes."""
    count = 0
    for node in nodes:
        if isinstance(node, Text):
            count += node.raw.count("\n")
        elif isinstance(node, Action):
            count += node.breaks
        else:
            count += sum(part.head.breaks + breaks(part.nodes) for part in node.branches)
            count += node.end.breaks if node.end else 0
    return count


def _tokens(text: str) -> list[Text | Action]:
    pieces: list[str] = []
    found: list[_Found] = []
    at = 0
    while (start := text.find("{{", at)) >= 0 and (action := _action(text, start + 2)):
        pieces.append(text[at:start])
        found.append(action)
        at = action.end
    pieces.append(text[at:])
    bare = _bare(pieces)
    tokens: list[Text | Action] = []
    at, line, column = 0, 1, 1
    for number, piece in enumerate(pieces):
        shown = piece
        if number and found[number - 1].trims_after:
            shown = shown.lstrip()
        here = _behind(piece[: len(piece) - len(shown)], line, column)
        if number < len(found) and found[number].trims_before:
            shown = shown.rstrip()
        if piece:
            tokens.append(Text(piece, shown, *here))
        line, column = _behind(piece, line, column)
        if number < len(found):
            action = found[number]
            body = action.body
            tokens.append(Action(body.strip(), body.count("\n"), bare[number], line, column))
            line, column = _behind(text[at + len(piece) : action.end], line, column)
            at = action.end
    return tokens


def _behind(text: str, line: int, column: int) -> tuple[int, int]:
    """Line and column behind a text that begins at these."""
    breaks = text.count("\n")
    return line + breaks, (len(text) - text.rfind("\n") if breaks else column + len(text))


def _action(text: str, start: int) -> _Found | None:
    """The action whose braces open just before `start`; None where they don't close."""
    trims = text.startswith("-", start)
    start += trims
    comment = _COMMENT.match(text, start)
    if comment and (end := _END.match(text, comment.end())):
        return _Found(comment[0], end.end(), trims, bool(end[1]))
    at = start
    while piece := _PIECE.match(text, at):
        at = piece.end()
    end = _END.match(text, at)
    return _Found(text[start:at], end.end(), trims, bool(end[1])) if end else None


def _bare(pieces: list[str]) -> list[bool]:
    """Whether each action, which stand between the pieces, has only actions on its lines."""
    bare = [True] * (len(pieces) - 1)
    line: list[int] = []  # the actions of the line so far
    blank = True
    for number, piece in enumerate(pieces):
        first, broken, _ = piece.partition("\n")
        blank = blank and not first.strip()
        if broken:
            for action in line:
                bare[action] = blank
            line, blank = [], not piece.rpartition("\n")[2].strip()
        if number < len(bare):
            line.append(number)
    for action in line:
        bare[action] = blank
    return bare
