"""On what kind of file system a path lies, of the kernel's table of mounts."""

from __future__ import annotations

import os
import re
from pathlib import Path

Table = dict[str, tuple[str, bool]]
"""Mountpoint → the file system's kind, and whether the file system itself takes no writes."""


def read(root: Path) -> Table:
    """The mounts that this process sees, of the /proc below `root`; empty where there is none."""
    try:
        text = (root / "proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return {}
    table: Table = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        (*_, point), (kind, _, options) = left.split(" ")[:5], right.split(" ")[:3]
        table[_plain(point)] = kind, "ro" in options.split(",")
    return table


def below(table: Table, path: Path) -> tuple[str, bool]:
    """What `path` lies on; of mounts on one point the last, as the kernel has it."""
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        if str(place) in table:
            return table[str(place)]
    return "", False


def _plain(text: str) -> str:
    """A path of the table: blanks and such are written as octal numbers there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
