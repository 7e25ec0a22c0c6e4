"""On what kind of file system a path lies, of the kernel's table of mounts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from hardtack.mount import mountinfo
from hardtack.mount.mountinfo import Mounted


@dataclass(frozen=True)
class Under:
    """What a path lies on: the file system's kind, whether it takes no writes, where it is mounted,
    and whether that is the whole of a disk's (of a mount that can't be told: nothing of all
    that)."""

    kind: str = ""
    read_only: bool = False
    place: str = ""
    disk: bool = False


Table = dict[str, Under]
"""By mountpoint."""
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
    table = {each.mountpoint: _under(each) for each in mounts}
    for each in mounts:
        if each.type == "overlay" and _written_to_memory(each, table, root):
            table[each.mountpoint] = replace(table[each.mountpoint], kind=_MEMORY)
    return table


def _under(each: Mounted) -> Under:
    disk = each.source.startswith("/dev/") and each.root == "/"
    return Under(each.type, each.read_only, each.mountpoint, disk)


def _written_to_memory(overlay: Mounted, table: Table, root: Path) -> bool:
    upper = next((o[9:] for o in overlay.options if o.startswith("upperdir=")), "")
    if upper and below(table, Path(upper)).kind == _MEMORY:
        return True
    try:
        words = (root / "proc/cmdline").read_text(errors="replace").split()
    except OSError:
        return False
    return overlay.mountpoint == "/" and any(word.startswith(_IN_MEMORY) for word in words)


def below(table: Table, path: Path) -> Under:
    """What `path` lies on; of mounts on one point the last, as the kernel has it."""
    real = Path(os.path.realpath(path))
    for place in (real, *real.parents):
        if str(place) in table:
            return table[str(place)]
    return Under()
