"""Values of the chart from files, laid over each other as Helm does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError
from hardtack.core.yamlerrors import told
from hardtack.deploy.render import chart


def read_values(files: Iterable[Path]) -> dict[str, Any]:
    """The values of `files` (YAML or JSON), later ones over earlier ones. Raises ConfigError."""
    merged: dict[str, Any] = {}
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"{file} can't be read as values: {why}.") from None
        merged = over(merged, parse_values(text, str(file)))
    return merged


def values_in_force(files: Iterable[Path]) -> dict[str, Any]:
    """The values of `files` over the chart's own, as an installation has them. Raises
    ConfigError."""
    return read_values([chart() / "values.yaml", *files])


def parse_values(text: str, name: str) -> dict[str, Any]:
    """The values in `text` (YAML or JSON), called `name` in errors. Raises ConfigError."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{told(error, name)}.", remedy="Mend the values there.") from None
    if document is not None and not isinstance(document, dict):
        raise ConfigError(
            f"{name} must hold values by name, found {type(document).__name__}.",
            remedy="Write it like: s3Mount: {bucket: weights}.",
        )
    return document or {}


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, table by table."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        merged[key] = over(old, value) if both and old is not None else value
    return merged


def at(values: Mapping[str, Any], path: str) -> Any:
    """The value at `a.b.c`; None where there is none."""
    found: Any = values
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def text(values: Mapping[str, Any], path: str) -> str:
    """The text at `a.b.c`; empty where there is none. Raises ConfigError for another thing."""
    found = at(values, path)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ConfigError(f"{path}: expected a text, found {found!r}.", remedy="Quote it.")
    return found.strip()
