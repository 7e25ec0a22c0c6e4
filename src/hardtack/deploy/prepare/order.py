"""Services start without waiting for a network for long.

A drop-in of systemd can add to `After=` and never take from it, so what k3s is ordered after stays;
the services that wait for a network there, or for its time, get a bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.deploy.prepare.step import Change, Step, Target, command, file, gone

UNITS = Path("etc/systemd/system")
NAME = "zz-hardtack.conf"
SECONDS = 15


def plan(target: Target) -> Iterable[Change]:
    systemd = target.facts().systemd
    if systemd is None:
        return
    slow = sorted({w.name for unit in systemd.units for w in unit.waits if w.long})
    text = f"[Service]\nTimeoutStartSec={SECONDS}\n"
    changes = [c for name in slow for c in file(target, UNITS / f"{name}.d" / NAME, text)]
    yield from changes
    yield from reload(target, changes)


def reload(target: Target, changes: list[Change]) -> list[Change]:
    """systemd reads its files again, when it runs here and something changed."""
    if changes and target.root == Path("/") and target.path("run/systemd/system").is_dir():
        return [command(target, "systemctl", "daemon-reload")]
    return []


def undo(target: Target) -> Iterable[Change]:
    files = [p.relative_to(target.root) for p in target.path(UNITS).glob(f"*.d/{NAME}")]
    changes = gone(target, files)
    yield from changes
    yield from reload(target, changes)


STEP = Step("order", "services wait for a network for a bounded time", plan, undo)
