"""The connection of an earlier keeper, handed back by systemd when it starts the service again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from hardtack.mount import device, hold, mountinfo, shared
from hardtack.mount.keeper import STORED

_FIRST = 3
_SAME = ("source", "mountpoint", "cache")

log = logging.getLogger(__name__)


def taken(run: dict[str, Any], run_file: Path) -> tuple[int, int] | None:
    """The mount's connection and shared memory, where systemd has them and they are those that
    `run` would make. Else None; what is left of another mount is cleared away then."""
    given = _given()
    if not given:
        return None
    path = run["mountpoint"]
    reason = _unfit(run, run_file, given)
    if not reason:
        log.info("goes on with the mount at %s", path)
        return given[STORED[0]], given[STORED[1]]
    log.warning("mounts %s anew: %s", path, reason)
    mounts = mountinfo.mounted_at(path)
    if mounts and mounts[-1].ours:
        with contextlib.suppress(OSError):  # what is still there then is told by who mounts
            device.unmount(path, lazy=True)
    for fd in given.values():
        os.close(fd)
    return None


def _given() -> dict[str, int]:
    """Name → descriptor, of those that systemd gave to this process. Its variables are taken out:
    they aren't for the processes that are started from here."""
    pid, count, names = (
        os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found = dict(zip(names.split(":"), range(_FIRST, _FIRST + int(count)), strict=False))
    return {name: fd for name, fd in found.items() if name in STORED}


def _unfit(run: dict[str, Any], run_file: Path, given: dict[str, int]) -> str:
    """Why the connection can't be gone on with; empty when it can."""
    missing = [name for name in STORED if name not in given]
    if missing:
        return f"systemd didn't hold its {missing[0]}"
    try:
        before = json.loads(run_file.read_text())
    except (OSError, ValueError) as problem:
        return f"{run_file} can't be read: {problem}"
    other = [name for name in _SAME if before.get(name) != run[name]]
    if other:
        return f"its {other[0]} was {before.get(other[0])}"
    if hold.ended(given[STORED[0]]):
        return "its connection has ended"
    mounts = mountinfo.mounted_at(run["mountpoint"])
    if not mounts or not mounts[-1].ours:
        return "it isn't mounted there any more"
    return "" if shared.known(given[STORED[1]]) else "another version of hardtack made it"
