"""k3s: where it looks for images, and when."""

from __future__ import annotations

import re
from pathlib import Path

from hardtack.core.errors import ConfigError

K3S_IMAGES = Path("/var/lib/rancher/k3s/agent/images")
# The first releases that load a file when it appears, by minor version.
_WATCHING = {29: 13, 30: 9, 31: 5, 32: 0}


def restart_needed(version: str | None) -> tuple[bool | None, str]:
    """Whether k3s `version` (`v1.28.8+k3s1`) must be restarted to see new files, and why."""
    if version is None:
        return (
            None,
            "which k3s runs here isn't known: before 1.29.13, 1.30.9, 1.31.5 and 1.32.0 "
            "it reads the directory only when it starts",
        )
    match = re.match(r"v?1\.(\d+)\.(\d+)", version)
    if match is None:
        raise ConfigError(
            f"{version!r} is not a version of k3s.", remedy="Write it like v1.31.5+k3s1."
        )
    minor, patch = int(match[1]), int(match[2])
    if minor > max(_WATCHING) or patch >= _WATCHING.get(minor, 1 << 30):
        return False, f"k3s {version} watches the directory and loads what appears in it"
    return True, f"k3s {version} reads the directory only when it starts"
