"""The machine's cgroup v2 hierarchy."""

from __future__ import annotations

import signal
from pathlib import Path


def cgroup2() -> Path | None:
    """Where cgroup v2 is mounted, if it has a controller to give and may be written to."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        top = Path(point)
        if kind == "cgroup2" and "rw" in options.split(","):
            return top if (top / "cgroup.controllers").read_text().split() else None
    return None


def empty(cgroup: Path) -> None:
    """Remove a cgroup, those below it, and what still runs in them."""
    for child in cgroup.iterdir():
        if child.is_dir():
            empty(child)
    (cgroup / "cgroup.kill").write_text("1")
    while (cgroup / "cgroup.events").read_text().startswith("populated 1"):
        signal.sigtimedwait({signal.SIGCHLD}, 0.02)
    cgroup.rmdir()
