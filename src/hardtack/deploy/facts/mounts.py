"""On what kind of file system a path lies, of the kernel's table of mounts."""

from __future__ import annotations

import os
from pathlib import Path

from hardtack.mount import mountinfo

Table = dict[str, tuple[str, bool]]
"""Mountpoint → the file system's kind, and whether the file system itself takes no writes."""


def read(root: Path) -> Table:
    """The mounts that this process sees, of the /proc below `root`; empty where there is none."""
    try:
        text = (root / "proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return {}
    return {each.mountpoint: (each.type, each.read_only) for each in mountinfo.parse(text)}


def below(table: Table, path: Path) -> tuple[str, bool]:
    """What `path` lies on; of mounts on one point the last, as the kernel has it."""
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        if str(place) in table:
            return table[str(place)]
    return "", False
