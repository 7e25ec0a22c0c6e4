"""Images that shell scripts fetch or start with crane, docker, ctr, skopeo and their like."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hardtack.manifests.chains import (
    Command,
    chains,
    closing_bracket,
    closing_quote,
    heredocs,
    stages,
)
from hardtack.manifests.programs import fetched, is_named

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_DECLARES = {"export", "local", "readonly", "declare", "typeset"}
_CHOOSES = {"then", "else", "do"}
_TESTS = {"[", "[[", "test", "if", "elif", "while", "until"}
_SAYS = {"echo", "printf", "logger", ":"}  # what stands behind these is no command
_LOOP = re.compile(r"for\s+([A-Za-z_]\w*)\s+in\s+(.*)", re.DOTALL)
_SHELLS = {"sh", "bash", "ash", "dash", "su", "eval", "ssh"}
_REDIRECTION = re.compile(r"[0-9]*(?:&>>?|>>|>&|>\||>|<<<|<<-?|<&|<)")
_DASH_C = re.compile(r"-[a-z]*c")
_WORD = r"[^}]*"  # of `${NAME:-word}`, which may hold such ones itself
for _ in range(3):
    # At each sign one branch fits at most, so that there is nothing to go back to.
    _WORD = rf"(?:[^$}}]|\$(?!\{{)|\$\{{{_WORD}\}})*"
BRACED = rf"\$\{{{_WORD}\}}"
_VARIABLE = re.compile(rf"\$(?:\{{(\w+)(?:\[[@*]\])?(?:(:?[-+?])({_WORD}))?\}}|(\w+))")
_NAME = re.compile(r"\$\{?(\w+)")
_UNRESOLVED = re.compile(rf"\$\(.*|`.*|{BRACED}|\$\{{[^}}]*\}}|\$[@*]", re.DOTALL)
_MADE = re.compile("\ue010([0-9]+)\ue011")  # stands for $(…) while a command is taken apart
_MOST = 200  # texts that the variables of one command may make of it
DEEPEST = 5  # scripts within scripts


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """`$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?what is wrong}` and `${NAME:+other}` put in
    where they are known; others stay. With the colon an empty value is as good as none."""

    def value(found: re.Match[str]) -> str:
        known = variables.get(found[1] or found[4])
        form = found[2] or ""
        is_given = known is not None and not (form[:1] == ":" and not known)
        match form[-1:]:
            case "-" if not is_given:
                return substitute(found[3], variables)
            case "+" if known is not None:  # else what starts it decides whether there is one
                return substitute(found[3], variables) if is_given else ""
            case "" | "-" | "?" if is_given and known is not None:
                return known
        return found[0]

    return _VARIABLE.sub(value, text)


def unresolved(text: str) -> str:
    """The first variable, or command, whose value is still to be put into `text`, or nothing."""
    if made := _UNRESOLVED.search(text):
        return made[0][:60]
    found = _VARIABLE.search(text)
    return found[0] if found else ""


def pulled(
    text: str, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[int, str, str, str]]:
    """(line from 0, command, image, platform) for each image that `text` fetches or starts.

    Variables that the script assigns once with plain values are resolved, those of a loop over
    plain words to each of them; others stay as they are in the image's text.
    """
    if is_named(text):
        yield from _Script({name: [value] for name, value in (variables or {}).items()}).read(text)


@dataclass
class _Script:
    """`known`: the values of variables; an array, and a loop's variable, has more than one."""

    known: dict[str, list[str]]
    changing: set[str] = field(default_factory=set)
    depth: int = 0

    def read(self, text: str) -> Iterator[tuple[int, str, str, str]]:
        lines = text.split("\n")
        for chain in chains(text):
            before = ""
            for command in chain:
                if not command.group:
                    is_chosen = command.before == "||" or before in _TESTS
                    for line, *rest in self.command(command, is_chosen=is_chosen):
                        yield (_standing(rest[1], lines, line), *rest)  # type: ignore[misc]
                    before = command.text.partition(" ")[0]
        for line, body in heredocs(text):
            yield from self.inner(body, line)

    def inner(self, text: str, line: int) -> Iterator[tuple[int, str, str, str]]:
        """Another script within this one."""
        if self.depth < DEEPEST:
            script = _Script(dict(self.known), set(self.changing), self.depth + 1)
            for offset, *rest in script.read(text):
                yield (line + offset, *rest)  # type: ignore[misc]

    def command(self, command: Command, *, is_chosen: bool) -> Iterator[tuple[int, str, str, str]]:
        text, made = _set_aside(command.text)
        for offset, script in made:
            yield from self.inner(script[2:-1], command.line + offset)
        if loop := _LOOP.match(text):
            self.known[loop[1]] = self.values(loop[2])
            if any(_MADE.search(value) for value in self.known[loop[1]]):
                del self.known[loop[1]]
            return
        words = _words(text)
        while words and words[0] in _CHOOSES:
            is_chosen = is_chosen or words[0] != "do"
            words = words[1:]
        if self.assigned(words, text, is_chosen=is_chosen):
            return
        for stage in stages(text):
            yield from self.run(stage, command.line, [script for _, script in made])

    def run(self, text: str, line: int, made: list[str]) -> Iterator[tuple[int, str, str, str]]:
        """What one command runs: a script given to a shell, and one of the programs."""
        words = _words(text)
        if not words or words[0] in _SAYS:
            return
        for script in _given(words):
            yield from self.inner(script, line)
        if not is_named(self.written(text)):
            return
        seen = set()
        for each in self.texts(text):
            for command, *named in fetched(_without_redirections(_words(each))):
                image, platform = (_put_back(name, made) for name in named)
                found = command, image, "" if unresolved(platform) else platform
                if found not in seen:
                    seen.add(found)
                    yield line, *found

    def assigned(self, words: list[str], text: str, *, is_chosen: bool) -> bool:
        """Keeps what the command assigns, where that is all it does."""
        if words and words[0] in _DECLARES:
            words = [word for word in words[1:] if not word.startswith("-")]
        if array := re.fullmatch(r"(?:\w+\s+(?:-\w+\s+)*)?([A-Za-z_]\w*)(\+?)=\((.*)\)", text,
                                 re.DOTALL):  # fmt: skip
            before = self.known.get(array[1], []) if array[2] else []
            self.known[array[1]] = before + self.values(array[3])
            return True
        pairs = [_ASSIGNMENT.fullmatch(word) for word in words]
        if not words or None in pairs:
            return False
        for pair in pairs:
            if pair:
                self.assign(pair[1], pair[2], pair[3], is_chosen=is_chosen)
        return True

    def assign(self, name: str, plus: str, value: str, *, is_chosen: bool) -> None:
        value = self.written(value)
        if _MADE.search(value):
            is_chosen = True
        elif plus and name in self.known:
            self.known[name] = [" ".join(self.known[name]) + value]
            return
        if is_chosen or name in self.changing or self.known.get(name, [value]) != [value]:
            self.changing.add(name)
            self.known.pop(name, None)
        else:
            self.known[name] = [value]

    def values(self, text: str) -> list[str]:
        """The words of a loop or an array, variables that hold several words taken apart."""
        every = {name: " ".join(values) for name, values in self.known.items()}
        return _words(substitute(text.replace('"', " "), every))

    def written(self, text: str) -> str:
        """The text with those variables that have one value."""
        return substitute(text, {name: v[0] for name, v in self.known.items() if len(v) == 1})

    def texts(self, text: str) -> Iterator[str]:
        """The text once for each value that its variables may have."""
        names = set(_NAME.findall(text))
        several = [name for name in sorted(names) if self.known.get(name)]
        ways = itertools.product(*(self.known[name] for name in several))
        for way in itertools.islice(ways, _MOST):
            yield substitute(text, dict(zip(several, way, strict=True)))


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:
        return command.split()


def _without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    at = 0
    while at < len(words):
        if redirection := _REDIRECTION.match(words[at]):
            at += redirection.end() == len(words[at])  # the file's name is the next word
        else:
            kept.append(words[at])
        at += 1
    return kept


def _given(words: list[str]) -> list[str]:
    """The scripts that a command gives to a shell: behind `sh -c`, `su -c`, `eval`, `ssh box`."""
    names = [word.rpartition("/")[2] for word in words]
    at = next((n for n, name in enumerate(names) if name in _SHELLS), None)
    if at is None:
        return []
    rest = words[at + 1 :]
    if names[at] not in ("eval", "ssh"):
        dash_c = next((n for n, word in enumerate(rest) if _DASH_C.fullmatch(word)), len(rest))
        rest = rest[dash_c + 1 :][:1]
    return [word for word in rest if " " in word]


def _standing(image: str, lines: list[str], line: int) -> int:
    """The line of a command that goes on over several which the image is written in."""
    at = line
    while at < len(lines) and image not in lines[at] and lines[at].rstrip().endswith("\\"):
        at += 1
    return at if at < len(lines) and image in lines[at] else line


def _set_aside(text: str) -> tuple[str, list[tuple[int, str]]]:
    """The command with each `$(…)` and backquoted command in it as a mark, and these, each with
    the line it begins at; not those in single quotes."""
    pieces: list[str] = []
    made: list[tuple[int, str]] = []
    at = begin = 0
    quoted = False
    while at < len(text):
        char, pair = text[at], text[at : at + 2]
        end = at
        if char == "\\":
            at += 2
            continue
        if char == '"':
            quoted = not quoted
        elif char == "'" and not quoted:
            at = closing_quote(text, at)
            continue
        elif pair == "$(" and text[at : at + 3] != "$((":
            end = closing_bracket(text, at + 1)
        elif char == "`":
            end = closing_quote(text, at)
        if end > at:
            script = text[at:end] if pair == "$(" else f"$({text[at + 1 : end - 1]})"
            pieces += [text[begin:at], f"\ue010{len(made)}\ue011"]
            made.append((text.count("\n", 0, at), script))
            at = begin = end
        else:
            at += 1
    return "".join([*pieces, text[begin:]]), made


def _put_back(text: str, made: list[str]) -> str:
    return _MADE.sub(lambda mark: made[int(mark[1])] if int(mark[1]) < len(made) else "", text)
