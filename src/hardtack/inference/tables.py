"""TOML tables read strictly: wrong types and unknown keys are errors that name the place."""

from __future__ import annotations

from typing import Any, TypeVar

from hardtack.core.errors import ModelError
from hardtack.core.typos import meant

T = TypeVar("T")


class Table:
    """One table of the file `origin`; each key is taken once, `done` complains about the rest."""

    def __init__(self, values: dict[str, Any], origin: str, path: str = "") -> None:
        self._left = dict(values)
        self._known: list[str] = []
        self._origin = origin
        self._path = path

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of `key`; integers are fine for floats. Raises ModelError."""
        self._known.append(key)
        value = self._left.pop(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"must be {kind.__name__}, not {type(value).__name__}")
        return value

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self.take(key, str, default)
        if value not in choices:
            what = f"is {value!r}, expected {_list(choices)}"
            raise self.error(key, what, meant(value, choices))
        return value

    def strings(self, key: str, default: list[str] | None = None) -> tuple[str, ...]:
        values = self.take(key, list, default)
        if not all(isinstance(value, str) and value for value in values):
            raise self.error(key, "must be a list of words")
        return tuple(values)

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        values = self.take(key, list, list(default))
        if not values or not all(type(value) in (int, float) for value in values):
            raise self.error(key, "must be a list of numbers")
        return tuple(map(float, values))

    def table(self, key: str) -> Table:
        return Table(self.take(key, dict), self._origin, f"{self._path}{key}.")

    def tables(self, key: str) -> list[Table]:
        values = self.take(key, list)
        if not values or not all(isinstance(value, dict) for value in values):
            raise self.error(key, f"must be one or more [[{key}]] tables")
        return [Table(v, self._origin, f"{self._path}{key}[{n}].") for n, v in enumerate(values)]

    def has(self, key: str) -> bool:
        return key in self._left

    def done(self) -> None:
        """Raises ModelError for a key that nobody asked for."""
        for key in self._left:
            raise self.error(key, "is not known", meant(key, self._known))

    def error(self, key: str, what: str, hint: str = "") -> ModelError:
        return ModelError(
            f"{self._origin}: {self._path}{key} {what}.",
            remedy=f"{hint} docs/formats/model-package.md describes the file.".lstrip(),
        )


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(words)
