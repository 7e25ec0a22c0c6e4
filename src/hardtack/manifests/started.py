"""Images that what runs in a cluster fetches or starts by itself: commands, scripts, variables and
settings name them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Variables
from dataclasses import dataclass, replace
from pathlib import Path

from hardtack.manifests import marks, settings
from hardtack.manifests.build import found
from hardtack.manifests.holes import Hole, expand
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Place
from hardtack.manifests.programs import fetched, is_named, starts
from hardtack.manifests.resources import strings
from hardtack.manifests.shell import pulled, substitute
from hardtack.manifests.yamlpos import Document, Mapping, Node, Scalar, children, text_of

_REFERENCE = re.compile(r"\$\(([A-Za-z_][\w.-]*)\)")


@dataclass(frozen=True)
class Programs:
    """Those that a document has run; `holes` are its template's."""

    document: Document
    holes: tuple[Hole, ...] = ()

    def container(self, way: str, container: Mapping) -> Iterator[FoundImage]:
        """Images that a container's commands fetch or start, or its variables name."""
        yield from self._environment(way, container.get("env"))
        variables = _variables(container.get("env"))
        for commands in (
            (container.get("command"), container.get("args")),
            (container.get("lifecycle", "postStart", "exec", "command"),),
            (container.get("lifecycle", "preStop", "exec", "command"),),
        ):
            words = [
                replace(word, text=_expanded(word.text, variables))
                for each in commands
                for word in children(each)
                if isinstance(word, Scalar)
            ]
            yield from self._words(words, f"{way} › command", variables)

    def _words(
        self, words: list[Scalar], way: str, variables: dict[str, str]
    ) -> Iterator[FoundImage]:
        """Images that a command, given word by word, fetches, or a script among its words."""
        at = next((n for n, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word.text)), 0)
        for word in words[at + 1 :] if at else words:
            yield from self.script(word, way, variables)
        texts = [word.text for word in words]
        if not is_named(" ".join(texts)):
            yield from self._options(words[: at or None], way)
            return
        known = {word.text: word for word in reversed(words)}
        for command, raw, platform in fetched(texts):
            named = next((w for text, w in known.items() if raw and raw in text), words[0])
            yield from self._pulled(raw, self.document.place(named), f"{way} › {command}", platform)

    def _options(self, words: list[Scalar], way: str) -> Iterator[FoundImage]:
        """Images in options of a program, which starts them: `--worker-image=a/b:1`."""
        for word, following in itertools.zip_longest(words, words[1:]):
            option, equals, text = word.text.partition("=")
            if not option.startswith("-"):
                continue
            value = replace(word, text=text) if equals else following
            if value is not None and (equals or not value.text.startswith("-")):
                for each in settings.entry(option, value, {}):
                    if not each.why:
                        yield from self._setting(each, f"{way} › {option}")

    def _setting(self, named: settings.Named, way: str) -> Iterator[FoundImage]:
        for raw, unknown in expand(named.text.text, self.holes):
            yield found(raw, self.document.place(named.text), way, Kind.SETTING,
                        hidden=self.document.hidden, unknown=unknown or named.why)  # fmt: skip

    def _environment(self, way: str, given: Node | None) -> Iterator[FoundImage]:
        """Images in a container's variables, which its program starts."""
        variables = _variables(given)
        others = {"_".join(settings.words(name)): text for name, text in variables.items()}
        for entry in children(given):
            name, value = text_of(entry.get("name")), entry.get("value")
            if not isinstance(value, Scalar):
                continue
            text = _expanded(value.text, variables)
            for called, raw in self._pairs(name, text):
                for each in settings.entry(called, replace(value, text=raw), others):
                    yield from self._setting(each, f"{way} › env.{called}")

    def _pairs(self, name: str, value: str) -> list[tuple[str, str]]:
        """Name and value; several where a template's loop gives both together."""
        if marks.is_told(name):
            return [(name, value)]
        texts = expand(f"{name}\n{value}", self.holes)
        found = [text.partition("\n") for text, _ in texts]
        return [(called, raw.strip("\"'")) for called, _, raw in found]

    def configured(self, way: str, root: Mapping) -> Iterator[FoundImage]:
        """Images that the strings of a ConfigMap or Secret name, or fetch."""
        every = list(strings(root))
        others = {"_".join(settings.words(key.text)): value.text for _, key, value in every}
        for field, key, value in every:
            step = f"{way} › {field}.{key.text}"
            yield from self.script(value, step)
            yield from self._kept(step, key.text, value, others)

    def _kept(self, way: str, key: str, value: Scalar, others: dict[str, str]
             ) -> Iterator[FoundImage]:  # fmt: skip
        """Images that a value of a ConfigMap names: the value itself, or a line of settings."""
        if "\n" not in value.text.strip():
            for each in settings.entry(key, value, others):
                yield from self._setting(each, way)
            return
        yield from self._lines(way, value.text, lambda n: (
            value.line + 1 + n if value.style == "|" else value.line))  # fmt: skip

    def _lines(self, way: str, text: str, line: Callable[[int], int]) -> Iterator[FoundImage]:
        """Images that lines of settings name; `line(n)` is where the n-th, from 0, stands."""
        lines = list(settings.lines(text))
        others = {"_".join(settings.words(name)): value for _, name, value in lines}
        for number, name, value in lines:
            for each in settings.entry(name, Scalar(line(number), 1, value), others):
                yield from self._setting(each, " › ".join(part for part in (way, name) if part))

    def script(
        self, node: Node | None, way: str, variables: dict[str, str] | None = None
    ) -> Iterator[FoundImage]:
        """Images that a script in a string pulls."""
        if not isinstance(node, Scalar) or " " not in node.text:
            return
        for line, command, raw, platform in pulled(node.text, variables):
            place = self.document.place(node)
            if node.style == "|":
                place = replace(place, line=node.line + 1 + line)
            yield from self._pulled(raw, place, f"{way} › {command}", platform)

    def _pulled(self, raw: str, place: Place, way: str, platform: str) -> Iterator[FoundImage]:
        platforms = (platform,) if platform and marks.is_told(platform) else ()
        for text, unknown in expand(raw, self.holes):
            kind = Kind.STARTED if starts(way) else Kind.COMMAND
            yield found(text, place, way, kind, platforms=platforms,
                        hidden=self.document.hidden, unknown=unknown)  # fmt: skip


def commands(
    document: Document, way: str, service: Node, variables: Variables[str, str]
) -> Iterator[FoundImage]:
    """Images that the commands of a compose file's service fetch or start."""
    programs = Programs(document)
    words: list[Scalar] = []
    for key in ("entrypoint", "command"):
        given = service.get(key)
        if isinstance(given, Scalar):
            yield from programs.script(given, f"{way} › {key}", dict(variables))
        words += [
            replace(word, text=substitute(word.text, variables))
            for word in children(given)
            if isinstance(word, Scalar)
        ]
    yield from programs._words(words, f"{way} › command", dict(variables))


def settings_in(text: str, file: Path) -> Iterator[FoundImage]:
    """Images that a file of settings, `NAME=value` on each line, names."""
    programs = Programs(Document(file, Scalar(1, 1, "")))
    yield from programs._lines("", text, lambda n: n + 1)


def _variables(given: Node | None) -> dict[str, str]:
    """A container's variables that are written down, each with those before it put in."""
    known: dict[str, str] = {}
    for entry in children(given):
        value = entry.get("value")
        if isinstance(value, Scalar):
            known[text_of(entry.get("name"))] = _expanded(value.text, known)
    return known


def _expanded(text: str, variables: dict[str, str]) -> str:
    """`$(NAME)` put in as the kubelet does."""
    return _REFERENCE.sub(lambda found: variables.get(found[1], found[0]), text)
