"""What a unit of systemd's wants to find, or is passed over at boot."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from hardtack.deploy.facts import names, texts
from hardtack.deploy.facts.links import resolved, told

_THERE: dict[str, Callable[[Path], bool]] = {
    "PathExists": lambda _: True,
    "PathIsDirectory": Path.is_dir,
    "DirectoryNotEmpty": lambda path: path.is_dir() and any(path.iterdir()),
    "FileNotEmpty": lambda path: path.is_file() and path.stat().st_size > 0,
    "FileIsExecutable": lambda path: path.is_file() and os.access(path, os.X_OK),
}
"""What each says of a path that is there."""
_GROUPS = ("Condition", "Assert")
_MACHINES = ("etc/machine-id", "sys/class/dmi/id/product_uuid")
_ID = re.compile(r"[0-9a-f]{32}")


def unmet(root: Path, said: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The conditions of a unit that says this (key, value) that don't hold, as they are written.
    Raises OSError where it may not look."""
    found: list[str] = []
    for key, value in said:
        group = next((group for group in _GROUPS if key.startswith(group)), "")
        if group and not value:  # forgotten are those of every kind, as with systemd
            found = [each for each in found if not each.startswith(group)]
        if group and value and not value.startswith("|"):
            asked = value.lstrip("!").strip()
            if _holds(root, key.removeprefix(group), asked) is value.startswith("!"):
                found.append(f"{key}={value}")
    return tuple(found)


def _holds(root: Path, kind: str, asked: str) -> bool | None:
    """None of what can't be told."""
    if kind in _THERE and told(asked):
        path = resolved(root, asked)
        return path is not None and _THERE[kind](path)
    if kind in _OF_BOX and "%" not in asked:
        return _OF_BOX[kind](root, asked)
    return None


def _is_called(root: Path, asked: str) -> bool | None:
    """Whether the box has this name, a glob, or this id."""
    wanted = _plain(asked)
    if _ID.fullmatch(wanted):
        return wanted in {_plain(texts.of(root / file)) for file in _MACHINES}
    name = names.of_host(root)
    return fnmatchcase(name, asked.lower()) if name else None


def _plain(identity: str) -> str:
    return identity.replace("-", "").strip().lower()


def _is_booted_with(root: Path, asked: str) -> bool | None:
    """Whether the kernel was told this, with a value or, where none is asked, whatever it has."""
    line = texts.of(root / "proc/cmdline")
    if not line:
        return None
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    return any(asked == (word if "=" in asked else word.partition("=")[0]) for word in words)


_OF_BOX: dict[str, Callable[[Path, str], bool | None]] = {
    "Host": _is_called,
    "KernelCommandLine": _is_booted_with,
}
