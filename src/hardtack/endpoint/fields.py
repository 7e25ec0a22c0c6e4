"""Settings out of YAML: typed, with the place of what is wrong and what was probably meant."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from hardtack.core import typos
from hardtack.core.errors import ConfigError
from hardtack.manifests import yamlpos
from hardtack.manifests.yamlpos import Mapping, Node, Scalar, Sequence

_MOST_TEXT = 1_000_000
_EXPONENT = re.compile(r"-?[0-9]+[eE][-+]?[0-9]+")
"""A number in JSON, which the SDK and `json.dumps` write, and text in YAML 1.1."""


class Fields:
    """A mapping whose keys are taken one by one; `done` refuses those that nobody took."""

    def __init__(self, node: Node | None, file: str, what: str) -> None:
        """`what` names the mapping in messages. Raises ConfigError where it isn't one."""
        self.file = file
        self.what = what
        self._taken: list[str] = []
        if node is None or (isinstance(node, Scalar) and node.tag == "null"):
            node = Mapping(1, 1)
        if not isinstance(node, Mapping):
            self.fail(node, f"{what} must be a mapping of names to values")
        self.node = node

    def text(self, key: str, default: str | None = None) -> str:
        """Raises ConfigError where it isn't a string, or missing with no default."""
        value = self._scalar(key, default is not None)
        if value is None:
            return default or ""
        if value.tag in ("bool", "null") or not value.text.strip():
            self.fail(value, f"{key} must be text, not {value.text!r}")
        return value.text

    def number(
        self, key: str, default: float, *, above: float | None = None, low: float | None = None,
        high: float | None = None,
    ) -> float:  # fmt: skip
        """A number over `above`, from `low`, up to `high`. Raises ConfigError."""
        value = self._scalar(key, True)
        if value is None:
            return default
        plain = value.plain()
        if not value.style and _EXPONENT.fullmatch(value.text):
            plain = float(value.text)
        if isinstance(plain, bool) or not isinstance(plain, int | float) or not _is_finite(plain):
            self.fail(value, f"{key} must be a number, not {value.text!r}")
        if above is not None and plain <= above:
            self.fail(value, f"{key} must be more than {above:g}, not {value.text}")
        if low is not None and plain < low:
            self.fail(value, f"{key} must be at least {low:g}, not {value.text}")
        if high is not None and plain > high:
            self.fail(value, f"{key} must be at most {high:g}, not {value.text}")
        return plain

    def flag(self, key: str, default: bool) -> bool:
        value = self._scalar(key, True)
        if value is None:
            return default
        plain = value.plain()
        if not isinstance(plain, bool):
            self.fail(value, f"{key} must be true or false, not {value.text!r}")
        return plain

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty where there is none."""
        found = []
        for child in self._children(key):
            if not isinstance(child, Scalar) or child.tag == "null":
                self.fail(child, f"{key} must be a list of names")
            found.append(child.text)
        return tuple(found)

    def each(self, key: str, what: str) -> Iterator[Fields]:
        """The mappings of a list; none where there is no list."""
        for child in self._children(key):
            yield Fields(child, self.file, what)

    def named(self, key: str, what: str) -> Iterator[tuple[Scalar, Fields]]:
        """The mappings under a mapping, by name."""
        for name, child in self.inside(key, key).node.items():
            yield name, Fields(child, self.file, f"{what} {name.text!r}")

    def inside(self, key: str, what: str) -> Fields:
        self._taken.append(key)
        return Fields(self.node.get(key), self.file, what)

    def done(self) -> None:
        """Raises ConfigError for a key that doesn't exist."""
        for key, _ in self.node.items():
            if key.text not in self._taken:
                self.fail(
                    key,
                    f"{self.what} has no setting {key.text!r}.{meant(key.text, self._taken)}",
                )

    def place(self, key: str) -> Node:
        """The node to point at when what `key` says is wrong."""
        return self.node.get(key) or self.node

    def fail(self, node: Node, problem: str) -> NoReturn:
        full_stop = "" if problem.endswith((".", "?")) else "."
        raise ConfigError(f"{self.file}:{node.line}:{node.column}: {problem}{full_stop}")

    def _scalar(self, key: str, optional: bool) -> Scalar | None:
        self._taken.append(key)
        value = self.node.get(key)
        if value is None or (isinstance(value, Scalar) and value.tag == "null" and optional):
            if not optional:
                self.fail(self.node, f"{self.what} needs {key}")
            return None
        if not isinstance(value, Scalar):
            self.fail(value, f"{key} must be one value")
        return value

    def _children(self, key: str) -> tuple[Node, ...]:
        self._taken.append(key)
        value = self.node.get(key)
        if value is None or (isinstance(value, Scalar) and value.tag == "null"):
            return ()
        if not isinstance(value, Sequence):
            self.fail(value, f"{key} must be a list")
        return value.children


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False


def meant(word: str, known: list[str]) -> str:
    """` Did you mean 'x'?`, or the known words."""
    if near := typos.meant(word, known):
        return f" {near}"
    return f" It may have: {', '.join(sorted(set(known)))}." if known else ""


def read(text: str, file: str, what: str) -> Fields:
    """The one mapping that `text` is; an empty text is an empty one. Raises ConfigError."""
    if len(text) > _MOST_TEXT:
        raise ConfigError(f"{file} has {len(text)} characters; at most {_MOST_TEXT} are read.")
    documents, problems = yamlpos.parse(text, Path(file))
    for problem in problems:
        place = problem.place
        raise ConfigError(f"{file}:{place.line}:{place.column}: {problem.message}.")
    if len(documents) > 1:
        node = documents[1].root
        raise ConfigError(f"{file}:{node.line}:{node.column}: a second document; expected one.")
    return Fields(documents[0].root if documents else None, file, what)


def read_file(path: Path, what: str) -> Fields:
    """The mapping in a file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path} can't be read: {reason}.") from None
    return read(text, str(path), what)
