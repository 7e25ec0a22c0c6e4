"""On what kind of file system a path lies, of the kernel's table of mounts."""

from __future__ import annotations

import os
from pathlib import Path

from hardtack.mount import mountinfo
from hardtack.mount.mountinfo import Mounted

Table = dict[str, tuple[str, bool]]
"""Mountpoint → the file system's kind, and whether the file system itself takes no writes."""
_MEMORY = "tmpfs"
_IN_MEMORY = ("boot=overlay", "overlayroot=tmpfs", "systemd.volatile=overlay",
              "systemd.volatile=yes")  # fmt: skip
"""On the kernel's command line: what is written to / lies in memory, out of sight."""


def read(root: Path) -> Table:
    """The mounts that this process sees, of the /proc below `root`; empty where there is none. An
    overlay whose writes go to memory is told as memory."""
    try:
        text = (root / "proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return {}
    mounts = mountinfo.parse(text)
    table = {each.mountpoint: (each.type, each.read_only) for each in mounts}
    for each in mounts:
        if each.type == "overlay" and _written_to_memory(each, table, root):
            table[each.mountpoint] = (_MEMORY, each.read_only)
    return table


def _written_to_memory(overlay: Mounted, table: Table, root: Path) -> bool:
    upper = next((o[9:] for o in overlay.options if o.startswith("upperdir=")), "")
    if upper and below(table, Path(upper))[0] == _MEMORY:
        return True
    try:
        words = (root / "proc/cmdline").read_text(errors="replace").split()
    except OSError:
        return False
    return overlay.mountpoint == "/" and any(word.startswith(_IN_MEMORY) for word in words)


def below(table: Table, path: Path) -> tuple[str, bool]:
    """What `path` lies on; of mounts on one point the last, as the kernel has it."""
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        if str(place) in table:
            return table[str(place)]
    return "", False
