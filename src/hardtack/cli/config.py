"""`hardtack.toml`: the third place, after flags and environment, that a setting may come from.

Its tables are for the reader; a key is the option's long name with `_` for `-`, and means the same
in every command:

    [source]
    endpoint_url = "https://s3.example"
    [cache]
    cache_size = "40GiB"
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError

PLACES = (
    Path("hardtack.toml"),
    Path("~/.config/hardtack/hardtack.toml"),
    Path("/etc/hardtack/hardtack.toml"),
)
TABLES = ("source", "cache", "mount", "images")


class Settings:
    """What the configuration file says: option name → value, and the line that says so; `path`
    None when there is no file."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.lines: dict[str, int] = {}

    def place(self, name: str) -> str:
        """Where an option of that name is set: `hardtack.toml:3`."""
        return f"{self.path}:{self.lines[name]}" if name in self.lines else str(self.path)


def load(explicit: str | None) -> Settings:
    """Read `explicit`, or the first file of PLACES that exists. Raises ConfigError."""
    if explicit is not None:
        path = Path(explicit)
        if not path.is_file():
            raise ConfigError(
                f"The configuration file {path} does not exist.",
                remedy="--config or HARDTACK_CONFIG names it; without one, settings are defaults.",
            )
        return parse(path)
    for place in PLACES:
        with contextlib.suppress(OSError, RuntimeError):  # another user's home, or no home at all
            path = place.expanduser()
            if path.is_file() and os.access(path, os.R_OK):
                return parse(path)
    return Settings()


def parse(path: Path) -> Settings:
    """What the file at `path` says. Raises ConfigError."""
    import tomllib  # late: most boxes are set up by flags and environment

    from hardtack.core.typos import meant, toml_line

    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    settings = Settings(path)
    for table, content in tables.items():
        if table not in TABLES or not isinstance(content, dict):
            raise ConfigError(
                f"{path}:{toml_line(text, [table]) or 1}: unknown table or key {table!r}.",
                remedy=f"{meant(table, TABLES)} Settings stand in the tables "
                f"{', '.join(f'[{t}]' for t in TABLES)}.".lstrip(),
            )
        _take(settings, content, text, table)
    return settings


def _take(settings: Settings, content: dict[str, Any], text: str, table: str) -> None:
    from hardtack.cli.options import setting_names
    from hardtack.core.typos import meant, toml_line

    known = setting_names()
    for key, value in content.items():
        line = toml_line(text, [table, key]) or 1
        if key not in known:
            hint = meant(key, known) or "`hardtack config show` lists all."
            raise ConfigError(f"{settings.path}:{line}: unknown setting {key!r}.", remedy=hint)
        settings.values[known[key]] = value
        settings.lines[known[key]] = line
