"""Shell read as far as scans and rules need: commands, and the `&&` and `||` between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEREDOC = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
DEEPEST = 20


@dataclass(frozen=True)
class Command:
    """One simple command, or a group in braces or brackets; `line` counts from 0, `before` is the
    operator in front of it (`&&`, `||`, or nothing)."""

    text: str
    line: int
    before: str = ""
    group: bool = False


def chains(text: str, line: int = 0, depth: int = 0) -> Iterator[tuple[Command, ...]]:
    """Each list of commands joined by `&&` and `||`, those inside groups too, in order."""
    chain: list[Command] = []
    for command, ends in _commands(text, line):
        if command.text:
            chain.append(command)
        if ends and chain:
            yield tuple(chain)
            chain = []
        if command.group and depth < DEEPEST:
            yield from chains(command.text[1:-1], command.line, depth + 1)
    if chain:
        yield tuple(chain)


def stages(text: str) -> list[str]:
    """The commands of a pipeline, in order; one for a command without a pipe."""
    found, at, begin = [], 0, 0
    while at < len(text):
        char, pair = text[at], text[at : at + 2]
        if char == "\\":
            at += 2
        elif char in ("'", '"', "`"):
            at = closing_quote(text, at)
        elif pair in ("$(", "${") or char == "(":
            at = closing_bracket(text, at + (char == "$"))
        elif char == "|" and pair != "||" and text[at - 1 : at] != ">":
            found.append(text[begin:at].strip())
            at += 2 if pair == "|&" else 1
            begin = at
        else:
            at += 1
    return [*found, text[begin:].strip()]


def heredocs(text: str) -> Iterator[tuple[int, str]]:
    """(line from 0, body) of each here-document."""
    at = 0
    while found := _HEREDOC.search(text, at):
        begin = text.find("\n", found.end()) + 1
        if not begin or text[found.start() - 1 : found.start()] == "<":  # or `<<<`
            at = found.end()
            continue
        at = _behind_heredoc(text, begin, found[2])
        body = text[begin:at]
        if body.rstrip().endswith(found[2]):
            body = body.rstrip()[: -len(found[2])]
        yield text.count("\n", 0, begin), body


def _commands(text: str, line: int) -> Iterator[tuple[Command, bool]]:
    """(command, whether its list ends behind it)."""
    at = begin = 0
    end = -1  # of the command, where a comment stands behind it
    first, begun, grouped, before = line, False, False, ""
    while at <= len(text):
        char, pair = text[at : at + 1], text[at : at + 2]
        behind = _behind_whole(text, at, begun)
        if behind > at:
            if char == "#":
                end = at
            elif not begun and char != "\\":
                grouped = _opens_group(text, at)
                first, begun = line, True
            line += text.count("\n", at, behind)
            at = behind
            continue
        joins = pair in ("&&", "||")
        if not (joins or char in (";", "\n", "", "&")) or pair == "&>":
            if not begun and not char.isspace():
                first, begun = line, True
            at += 1
            continue
        words = text[begin : end if end >= 0 else at].replace("\\\n", " ").strip()
        if words or joins or char != "\n":
            yield Command(_inner(words) if grouped else words, first, before, grouped), not joins
            before = pair if joins else ""
        # A line break right behind an operator goes on with the same list.
        line += char == "\n"
        at += 2 if joins else 1
        if char == "\n" and (heredoc := _HEREDOC.search(words)):
            behind = _behind_heredoc(text, at, heredoc[2])
            line += text.count("\n", at, behind)
            at = behind
        begin, end, begun, grouped = at, -1, False, False


def _behind_whole(text: str, at: int, begun: bool) -> int:
    """Behind what begins at `at` and holds no end of a command: a quoted text, a comment, brackets.
    `at` where nothing of that kind does."""
    char, pair = text[at : at + 1], text[at : at + 2]
    if char == "\\":
        return at + 2
    if char and char in "'\"`":
        return closing_quote(text, at)
    if char == "#" and (at == 0 or text[at - 1] in " \t\n;"):
        newline = text.find("\n", at)
        return newline if newline >= 0 else len(text)
    if pair in ("$(", "${"):
        return closing_bracket(text, at + 1)
    is_array = char == "(" and begun and text[at - 1] == "="
    if is_array or (not begun and _opens_group(text, at)):
        return closing_bracket(text, at)
    if char == "&" and at and text[at - 1] in "<>":
        return at + 1
    return at


def _inner(words: str) -> str:
    """A group without what stands behind its closing bracket (redirections)."""
    close = "}" if words[0] == "{" else ")"
    return words[: words.rfind(close) + 1] if close in words else words


def _opens_group(text: str, at: int) -> bool:
    return text[at : at + 1] == "(" or text[at : at + 2] in ("{ ", "{\n", "{\t")


def closing_quote(text: str, at: int) -> int:
    """Behind the quote that closes the one at `at`; the text's end where there is none."""
    quote = text[at]
    here = at + 1
    while here < len(text) and text[here] != quote:
        here += 2 if text[here] == "\\" and quote != "'" else 1
    return min(here + 1, len(text))


def closing_bracket(text: str, at: int) -> int:
    """Behind the bracket that closes the one at `at`; the text's end where there is none."""
    opening = text[at]
    closing = {"(": ")", "{": "}"}[opening]
    depth, here = 0, at
    while here < len(text):
        char = text[here]
        if char in ("'", '"'):
            here = closing_quote(text, here)
            continue
        if char == "#" and text[here - 1] in " \t\n":
            here = len(text) if (newline := text.find("\n", here)) < 0 else newline
            continue
        if char == "\\":
            here += 2
            continue
        depth += (char == opening) - (char == closing)
        here += 1
        if depth == 0:
            return here
    return len(text)


def _behind_heredoc(text: str, at: int, word: str) -> int:
    """Behind the line that ends a here-document."""
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if text[at:end].strip() == word:
            return min(end + 1, len(text))
        at = end + 1
    return len(text)
