"""What a unit of systemd's wants to find, or is passed over at boot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from hardtack.deploy.facts.links import resolved

_HOLDS: dict[str, Callable[[Path], bool]] = {
    "PathExists": lambda _: True,
    "PathIsDirectory": Path.is_dir,
    "DirectoryNotEmpty": lambda path: path.is_dir() and any(path.iterdir()),
    "FileNotEmpty": lambda path: path.is_file() and path.stat().st_size > 0,
    "FileIsExecutable": lambda path: path.is_file() and os.access(path, os.X_OK),
}
"""What each says of a path that is there."""
_GROUPS = ("Condition", "Assert")
MADE_ANEW = ("/run/", "/var/run/", "/tmp/", "/dev/", "/proc/", "/sys/")
"""Below these nothing tells what a start will find."""


def unmet(root: Path, said: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The conditions of a unit that says this (key, value) that don't hold, as they are written.
    Raises OSError where it may not look."""
    found: list[str] = []
    for key, value in said:
        group = next((group for group in _GROUPS if key.startswith(group)), "")
        if group and not value:  # forgotten are those of every kind, as with systemd
            found = [each for each in found if not each.startswith(group)]
        kind = key.removeprefix(group)
        if not group or not value or kind not in _HOLDS:
            continue
        path = value.lstrip("!").strip()
        if path.startswith("/") and "%" not in path and not path.startswith(MADE_ANEW):
            there = resolved(root, path)
            if (there is not None and _HOLDS[kind](there)) == value.startswith("!"):
                found.append(f"{key}={value}")
    return tuple(found)
