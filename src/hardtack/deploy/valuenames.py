"""The names of the chart's values: those that its schema doesn't have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hardtack.core.errors import ConfigError
from hardtack.core.typos import meant
from hardtack.deploy.jobs.check_values import Finding
from hardtack.deploy.render import chart

_KNOWN = "a value that the chart has"


def unknown(values: Mapping[str, Any]) -> tuple[Finding, ...]:
    """A finding for each value that the chart doesn't have. Raises ConfigError without a chart."""
    schema = json.loads((chart() / "values.schema.json").read_text(encoding="utf-8"))
    return tuple(_unknown(values, schema, ""))


def refuse_unknown(values: Mapping[str, Any]) -> None:
    """Raises ConfigError that names the first value that the chart doesn't have, or that is none
    where the chart has several."""
    for finding in unknown(values):
        said = f"{finding.value}: expected {finding.expected}, found {finding.found}."
        if finding.expected == _KNOWN:
            said = f"The chart has no value {finding.value}."
        raise ConfigError(said, remedy=finding.remedy)


def _unknown(values: Mapping[str, Any], schema: Mapping[str, Any], at: str) -> Iterator[Finding]:
    known: Mapping[str, Any] = schema.get("properties", {})
    for key, value in values.items():
        name = str(key)
        below = known.get(name)
        if below is not None:
            if isinstance(value, Mapping):
                yield from _unknown(value, below, f"{at}{name}.")
            elif value is not None and below.get("type") == "object":
                remedy = f"Write it like: {name}: {{…: …}}."
                yield Finding(at + name, "values by name", repr(value), remedy)
        elif schema.get("additionalProperties") is False:
            remedy = meant(name, known, within=at) or "Nothing reads it: remove it."
            yield Finding(at + name, _KNOWN, "none of this name", remedy)
