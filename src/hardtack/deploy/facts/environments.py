"""The environment with which systemd starts a service: its unit's, and that of files."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from hardtack.deploy.facts import texts


def variables(root: Path, said: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name → value for the unit that says this (key, value). Raises OSError for a file that is
    there and may not be read."""
    texts: list[str] = []
    files: list[str] = []
    for key, value in said:  # an empty one takes back those before it
        if key == "Environment":
            texts = [*texts, value] if value else []
        elif key == "EnvironmentFile":
            files = [*files, value] if value else []
    for file in files:
        texts += _lines(root / file.lstrip("-/"))
    named = (word.partition("=") for text in texts for word in words(text))
    return {name: value for name, equals, value in named if equals}


def words(text: str) -> list[str]:
    """As systemd parts them; none of what it refuses."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _lines(file: Path) -> list[str]:
    lines = texts.of(file).splitlines()
    return [line for line in lines if not line.lstrip().startswith(("#", ";"))]
