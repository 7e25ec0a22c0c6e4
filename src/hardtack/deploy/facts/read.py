"""The one reader of facts: files below a root directory, the kernel's tables, helpers tried."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from hardtack.deploy.facts import crypttab, fstab, helpers, k3s, mounts, network, systemd, upcoming
from hardtack.deploy.facts.model import Clock, Facts, Space

KEPT = Path("var/lib/hardtack/clock")
LATE = 60.0
"""Seconds for which the noted time may lie before us: nobody sets a clock that well."""
_CLOCKS = (KEPT, Path("var/lib/systemd/timesync/clock"), Path("etc/fake-hwclock.data"))


def read(
    root: Path = Path("/"),
    directories: Iterable[Path] = (),
    *,
    now: Callable[[], float] = time.time,
    addresses: Callable[[], network.Addresses] | None = None,
    helpers_too: bool = True,
) -> Facts:
    """The facts of the box whose file system is at `root`.

    `directories` are those that must have room; k3s's is added. `helpers_too`: credential helpers
    are tried, which takes a while. Raises ConfigError for a k3s
    configuration that can't be read.
    """
    configured = k3s.read(root)
    places = [*directories, *([root / k3s.DATA] if configured else [])]
    table = mounts.read(root)
    return Facts(
        network.read(root, addresses),
        clock(root, now()),
        tuple(dict.fromkeys(_space(place, table, root) for place in places)),
        configured,
        systemd.read(root),
        helpers.read(root, configured.settings) if configured and helpers_too else (),
        fstab.read(root),
        upcoming.read(root),
        crypttab.read(root),
    )


def clock(root: Path, now: float) -> Clock:
    """The time now, and the newest of the files that others and we keep it in (its mtime)."""
    kept = [(path.stat().st_mtime, path) for p in _CLOCKS if (path := root / p).exists()]
    if not kept:
        return Clock(now)
    newest, path = max(kept)
    return Clock(now, newest, str(path))


def _space(path: Path, table: mounts.Table, root: Path) -> Space:
    """The room for `path`, which needn't be there yet."""
    there = next(place for place in (path, *path.parents) if place.exists())
    found = os.statvfs(there)
    under = mounts.below(table, there)
    return Space(
        path, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize,
        found.f_favail, found.f_files, under.kind, under.read_only,
        _known(under.place, root), under.disk, _known(os.path.realpath(path), root),
    )  # fmt: skip


def _known(path: str, root: Path) -> str:
    """What the box, whose file system is at `root`, calls `path`."""
    inside = Path(path).is_relative_to(root)
    return str(Path("/", Path(path).relative_to(root))) if inside else path
