"""From one keeper of a mount to the next, where the former may still be ending."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from hardtack.core.errors import HardtackError, MountpointError
from hardtack.mount import device, hold, shared
from hardtack.mount.keeper import device_at

_PAUSE = 0.2

log = logging.getLogger(__name__)


class Living(MountpointError):
    """A mount that answers, or may yet, is there."""


def in_turn(attempt: Callable[[], None], seconds: float, busy: type[HardtackError]) -> None:
    """`attempt`, again and again for `seconds` while it is `busy`; then that error is raised."""
    deadline = time.monotonic() + seconds
    waiting = False
    while True:
        try:
            attempt()
        except busy as problem:
            if time.monotonic() >= deadline:
                raise
            if not waiting:
                log.info("waits up to %.0f s for its predecessor: %s", seconds, problem.message)
            waiting = True
            time.sleep(_PAUSE)
        else:
            return


def taken(run: dict[str, Any], seconds: float) -> tuple[int, int] | None:
    """The mount's connection and shared memory from the hold; None when it has none for this run.

    Raises Living when a predecessor doesn't let go within `seconds`.
    """
    if not run["hold"]:
        return None
    found: list[tuple[int, int]] = []
    in_turn(lambda: found.extend(_take(run)), seconds, Living)
    return found[0] if found else None


def _take(run: dict[str, Any]) -> list[tuple[int, int]]:
    socket, mountpoint = run["hold"], run["mountpoint"]
    try:
        kept, fds = hold.ask(socket, {"do": "take", "mountpoint": mountpoint})
        if not kept:
            return []
        if not kept["owned"] and _fits(kept, fds, run):
            log.info("goes on with the mount at %s", mountpoint)
            return [(fds[0], fds[1])]
        for fd in fds:
            os.close(fd)
        if not kept["owned"]:
            if device_at(mountpoint) == kept["device"]:
                device.unmount(mountpoint, lazy=True)
            hold.ask(socket, {"do": "drop", "mountpoint": mountpoint})
            return []
    except OSError as problem:
        log.warning("goes on without the hold at %s: %s", socket, problem.strerror or problem)
        return []
    raise Living(
        f"Another keeper serves {kept['source']} at {mountpoint}.",
        remedy="Wait for its end: --handover 60s.",
    )


def _fits(kept: dict[str, Any], fds: list[int], run: dict[str, Any]) -> bool:
    """Whether it is the mount that `run` would make, alive, at its place, in a known layout."""
    same = all(kept[key] == run[key] for key in ("source", "cache"))
    in_place = device_at(run["mountpoint"]) == kept["device"] and not hold.ended(fds[0])
    return same and in_place and shared.known(fds[1])
