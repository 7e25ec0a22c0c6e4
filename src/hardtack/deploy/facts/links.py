"""Where names lead on the box, whose root directory may be a directory of ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MADE_ANEW = ("/run/", "/var/run/", "/tmp/", "/dev/", "/proc/", "/sys/")
"""Below these nothing tells what a start will find."""
_ENDLESS = 40  # the kernel's own bound


def resolved(root: Path, name: str | Path) -> Path | None:
    """What the box knows as `name`, as a path of ours below `root` without links but in `root`
    itself; None where nothing is. Raises OSError where it may not look."""
    at, followed = root, 0
    pending = _parts(name)
    while pending:
        part = pending.pop()
        if part == "..":
            at = at if at == root else at.parent
            continue
        try:
            mode = os.lstat(at / part).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISLNK(mode):
            at /= part
            continue
        followed += 1
        if followed > _ENDLESS:
            return None
        target = (at / part).readlink()
        at = root if target.is_absolute() else at
        pending += _parts(target)
    return at


def told(path: str) -> bool:
    """Whether it can be told what a start finds at `path`, as a unit's file may have it."""
    return path.startswith("/") and "%" not in path and not f"{path}/".startswith(_MADE_ANEW)


def gone(root: Path, path: str) -> bool:
    """Whether a start won't find `path`. Raises OSError where it may not look."""
    return told(path) and resolved(root, path) is None


def tidied(path: str) -> str:
    """An absolute path as systemd writes it: one slash between names, none at the end."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def _parts(name: str | Path) -> list[str]:
    """The components, the last first."""
    return [part for part in reversed(Path(name).parts) if part != "/"]
