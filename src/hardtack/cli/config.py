"""`hardtack.toml`: the third place, after flags and environment, that a setting may come from.

Its tables are for the reader; a key is the option's long name with `_` for `-`, and means the same
in every command:

    [source]
    endpoint_url = "https://s3.example"
    [cache]
    cache_size = "40GiB"
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError

PLACES = (
    Path("hardtack.toml"),
    Path("~/.config/hardtack/hardtack.toml"),
    Path("/etc/hardtack/hardtack.toml"),
)
TABLES = ("source", "cache", "mount", "images")


@dataclass(frozen=True)
class Settings:
    """What the configuration file says: option name → value; `path` None when there is no file."""

    path: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)


def load(explicit: str | None) -> Settings:
    """Read `explicit`, or the first file of PLACES that exists. Raises ConfigError."""
    if explicit is not None:
        path = Path(explicit)
        if not path.is_file():
            raise ConfigError(f"The configuration file {path} does not exist.")
        return Settings(path, parse(path))
    for place in PLACES:
        path = place.expanduser()
        if path.is_file() and os.access(path, os.R_OK):
            return Settings(path, parse(path))
    return Settings()


def parse(path: Path) -> dict[str, Any]:
    """Option name → value, as click's default_map wants it."""
    import tomllib  # late: most boxes are set up by flags and environment

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    values: dict[str, Any] = {}
    for table, content in tables.items():
        if table not in TABLES or not isinstance(content, dict):
            raise ConfigError(
                f"{path}: unknown table or key {table!r}.",
                remedy=f"Settings stand in the tables {', '.join(f'[{t}]' for t in TABLES)}.",
            )
        values |= content
    _refuse_unknown(path, values)
    return values


def _refuse_unknown(path: Path, values: dict[str, Any]) -> None:
    if not values:
        return
    import difflib

    from hardtack.cli.options import setting_names

    known = setting_names()
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "`hardtack config show` lists all."
            raise ConfigError(f"{path}: unknown setting {key!r}.", remedy=hint)
