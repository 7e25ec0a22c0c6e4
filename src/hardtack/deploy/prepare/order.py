"""Services start without waiting for a network for long.

A drop-in of systemd can add to `After=` and never take from it, so what k3s is ordered after stays;
what `network-online.target` itself waits for gets a bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.deploy.facts.systemd import LONG_WAIT
from hardtack.deploy.prepare.step import Change, Step, Target, command, file, gone

UNITS = Path("etc/systemd/system")
NAME = "zz-hardtack.conf"
SECONDS = 15


def plan(target: Target) -> Iterable[Change]:
    systemd = target.facts().systemd
    if systemd is None:
        return
    changes = [
        change
        for waiter in systemd.waiters
        if waiter.seconds is None or waiter.seconds > LONG_WAIT
        for change in file(
            target, UNITS / f"{waiter.name}.d" / NAME, f"[Service]\nTimeoutStartSec={SECONDS}\n"
        )
    ]
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
