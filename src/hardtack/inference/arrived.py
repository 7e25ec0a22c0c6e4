"""How much of a package's files is on the box, as the mount they lie on says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hardtack.inference.package import Package

_STATE = "user.hardtack.state"


def present(*packages: Package) -> tuple[int, int]:
    """Bytes of the packages' files that are on the box, and in all. Blocks on the mount."""
    parts = [
        (part.size, _share(package.directory / part.file))
        for package in packages
        for part in package.files
    ]
    return round(sum(size * share for size, share in parts)), sum(size for size, _ in parts)


def _share(path: Path) -> float:
    """How much of a file is on the box, from 0 to 1; files of other mounts are there or not."""
    try:
        state = os.getxattr(path, _STATE).decode()
    except OSError as error:
        return float(error.errno in (errno.ENODATA, errno.ENOTSUP))
    if state.startswith("partial "):
        return int(state.removeprefix("partial ").rstrip("%")) / 100
    return float(state == "complete")
