"""Raw Helm templates: actions `{{ }}` resolved where that can be done statically."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.manifests.build import CLOSE, OPEN
from hardtack.manifests.yamlpos import parse

_CONTROL = re.compile(
    r"(?:if|else|end|range|with|define|block|template|break|continue)\b|\$\w+\s*:?=|/\*"
)
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`|\$?(?:\.[\w.]*)|\$\w*|[\w-]+|\||\(|\)')
_DEFINE = re.compile(r'(?:define|block)\s+"([^"]+)"')
_RELEASE = {"Name": "release", "Namespace": "default", "Service": "Helm", "Revision": 1}


class Unknown(Exception):
    """Why an expression can't be resolved without running Helm."""


def actions(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, body) of each action; one that is never closed ends the search."""
    at = text.find("{{")
    while at >= 0:
        end, quote = at + 2, ""
        while end < len(text):
            char = text[end]
            if quote:
                if char == "\\" and quote == '"':
                    end += 1
                elif char == quote:
                    quote = ""
            elif char in '"`':
                quote = char
            elif text.startswith("}}", end):
                break
            end += 1
        if end >= len(text):
            return
        body = text[at + 2 : end].removeprefix("-").removesuffix("-").strip()
        yield at, end + 2, body
        at = text.find("{{", end + 2)


@dataclass
class Chart:
    """A chart's directory, its values, and the named templates of its `_*.tpl` files."""

    directory: Path
    values: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)

    def flattened(self, text: str) -> tuple[str, tuple[str, ...]]:
        """The template as YAML of the same lines, and why each unresolved action is one.

        What can't be resolved stands there as OPEN, its number in the reasons, CLOSE.
        """
        out: list[str] = []
        reasons: list[str] = []
        at = 0
        for start, end, body in actions(text):
            out.append(text[at:start])
            at = end
            before = text[text.rfind("\n", 0, start) + 1 : start]
            after = text[end : text.find("\n", end) if "\n" in text[end:] else len(text)]
            breaks = "\n" * text.count("\n", start, end)
            control = _CONTROL.match(body)
            if not before.strip() and not after.strip():
                out.append(breaks)
                continue
            try:
                if control:
                    raise Unknown(f"a condition, {{{{ {body[:60]} }}}}, chooses a part of it")
                value = str(self.value(body))
                out.append(value if "\n" not in value else "{}")
            except Unknown as why:
                out.append(f"{OPEN}{len(reasons)}{CLOSE}")
                reasons.append(str(why))
            out.append(breaks)
        return "".join(out) + text[at:], tuple(reasons)

    def value(self, expression: str, depth: int = 0) -> Any:
        """What an expression yields with the chart's own values. Raises Unknown."""
        if depth > 20:
            raise Unknown("templates include one another without end")
        piped: list[Any] = []
        for stage in _stages(_TOKEN.findall(expression)):
            piped = [self._call(stage, piped, depth)]
        if not piped:
            raise Unknown(f"{{{{ {expression[:60]} }}}} is not an expression")
        return "" if piped[0] is None else piped[0]

    def _call(self, words: list[str], piped: list[Any], depth: int) -> Any:
        name, rest = words[0], words[1:]
        if not re.fullmatch(r"[a-zA-Z]\w*", name) or name in ("true", "false"):
            if rest:
                raise Unknown(f"{' '.join(words)[:60]} is not resolved")
            return self._operand(name)
        if name == "include" and rest:
            return self._include(rest[0].strip('"'), depth)
        given = [self._operand(word) for word in rest] + piped
        try:
            return _FUNCTIONS[name](*given)
        except KeyError:
            raise Unknown(f"the function {name} is not resolved") from None
        except (TypeError, ValueError, IndexError) as error:
            raise Unknown(f"{name} can't be resolved: {error}") from error

    def _operand(self, word: str) -> Any:
        if word[0] in '"`':
            return word[1:-1].replace('\\"', '"')
        if word in ("true", "false"):
            return word == "true"
        if word.isdigit():
            return int(word)
        path = word.removeprefix("$").removeprefix(".").split(".")
        roots: dict[str, Any] = {
            "Values": self.values, "Chart": self.about, "Release": _RELEASE}  # fmt: skip
        if not word.startswith((".", "$.")) or path[0] not in roots:
            raise Unknown(f"{word} is set while the template runs")
        here: Any = roots[path[0]]
        for step in path[1:]:
            here = here.get(step) if isinstance(here, dict) else None
        return here

    def _include(self, name: str, depth: int) -> str:
        if name not in self.named:
            raise Unknown(f"no template named {name!r} is in the chart's helpers")
        body, out, at = self.named[name], [], 0
        for start, end, action in actions(body):
            if _CONTROL.match(action) and not action.startswith("/*"):
                raise Unknown(f"the template {name!r} decides while it runs")
            out.append(body[at:start])
            if not action.startswith("/*"):
                out.append(str(self.value(action, depth + 1)))
            at = end
        return ("".join(out) + body[at:]).strip()


def chart_of(file: Path, known: dict[Path, Chart | None]) -> Chart | None:
    """The chart that a file belongs to, or None; `known` keeps what was read."""
    for directory in file.parents[:6]:
        if directory not in known:
            known[directory] = _read(directory) if (directory / "Chart.yaml").is_file() else None
        if known[directory]:
            return known[directory]
    return None


def _read(directory: Path) -> Chart:
    chart = Chart(directory, _plain(directory / "values.yaml"), _plain(directory / "Chart.yaml"))
    above = directory.parent.parent
    if directory.parent.name == "charts" and (above / "Chart.yaml").is_file():
        outer = _plain(above / "values.yaml")
        for given in ({"global": outer.get("global")}, outer.get(directory.name)):
            chart.values = _merged(chart.values, given if isinstance(given, dict) else {})
    chart.about = {key[:1].upper() + key[1:]: value for key, value in chart.about.items()}
    for file in sorted((directory / "templates").rglob("*.tpl")):
        chart.named |= _defines(file.read_text(errors="replace"))
    return chart


def _merged(own: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A subchart's values with those that its parent sets over them."""
    both = dict(own)
    for key, value in over.items():
        mine = both.get(key)
        nested = isinstance(mine, dict) and isinstance(value, dict)
        both[key] = _merged(mine, value) if nested and mine is not None else value
    return both


def _plain(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    documents, _ = parse(file.read_text(errors="replace"), file)
    plain = documents[0].root.plain() if documents else {}
    return plain if isinstance(plain, dict) else {}


def _defines(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name, begin, depth = "", 0, 0
    for start, end, body in actions(text):
        if define := _DEFINE.match(body):
            name, begin, depth = define[1], end, 1
        elif re.match(r"(?:if|range|with)\b", body):
            depth += 1
        elif body == "end":
            depth -= 1
            if depth == 0 and name:
                found[name], name = text[begin:start], ""
    return found


def _stages(tokens: list[str]) -> list[list[str]]:
    if "(" in tokens:
        raise Unknown("an expression in brackets is not resolved")
    stages: list[list[str]] = [[]]
    for token in tokens:
        if token == "|":
            stages.append([])
        else:
            stages[-1].append(token)
    return [stage for stage in stages if stage]


_FUNCTIONS: dict[str, Any] = {
    "default": lambda fallback, value=None: (
        value if value not in (None, "", 0, False) else fallback
    ),
    "quote": lambda value: f'"{value}"',
    "squote": lambda value: f"'{value}'",
    "toString": str,
    "lower": lambda value: str(value).lower(),
    "upper": lambda value: str(value).upper(),
    "trim": lambda value: str(value).strip(),
    "trimPrefix": lambda what, value: str(value).removeprefix(what),
    "trimSuffix": lambda what, value: str(value).removesuffix(what),
    "trunc": lambda length, value: str(value)[:length],
    "replace": lambda old, new, value: str(value).replace(old, new),
    "required": lambda _, value: value,
    "printf": lambda form, *given: re.sub(r"%[vd]", "%s", form) % given,
    "coalesce": lambda *given: next((value for value in given if value), ""),
}
