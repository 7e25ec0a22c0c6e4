"""Unmounting: the name, then the keeper and the worker."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

from hardtack.core.errors import MountpointError, MountUnhealthy
from hardtack.mount import device, keeper, mountinfo, running

_CLOSING = 1.0
"""Seconds in which files that nobody has open any more are closed."""
_BELOW = "no process: something is mounted below it, or made a device of a file in it"
_UNSEEN = "processes that this user can't see"
_BY_ITSELF = 2.0
"""Seconds in which a worker finds the connection ended and closes the cache."""


def unmount(mountpoint: str | Path, *, lazy: bool = False) -> None:
    """Unmount; returns when keeper and worker have ended, so that the cache is free.

    Copies of the mount in other mount namespaces (containers, `ip netns exec`) keep the connection
    alive; it ends for them too, as when the keeper is told to end.
    Lazily: the name goes now, keeper and worker when the last open file is closed. Raises
    MountpointError naming who uses the mount.
    """
    path = mountinfo.absolute(os.fspath(mountpoint))
    running.require_ours(path)
    who = mountinfo.identity(path, running.PROBE_SECONDS)
    try:
        _unmounted(path, lazy)
    except OSError as problem:
        if problem.errno in (errno.EPERM, errno.EACCES):
            raise running.not_yours(path, "unmounted", problem) from None
        raise MountpointError(f"Unmounting {path} failed: {problem.strerror}.") from None
    if who is not None and not lazy:
        _end_keeper(int(str(who["keeper"])))


def _unmounted(path: str, lazy: bool) -> None:
    """What was closed a moment ago may still count, though nobody can be named. Raises OSError, and
    MountpointError of a mount in use."""
    patience = time.monotonic() + _CLOSING
    while True:
        try:
            device.unmount(path, lazy=lazy)
        except OSError as problem:
            if problem.errno != errno.EBUSY:
                raise
            users = mountinfo.users(path)
            if users or time.monotonic() > patience:
                raise _in_use(path, users) from None
            time.sleep(0.02)
        else:
            return


def _in_use(path: str, users: list[tuple[int, str]]) -> MountpointError:
    named = ", ".join(f"{pid} ({name})" for pid, name in users[:8])
    return MountpointError(
        f"{path} is in use by {named or (_BELOW if os.geteuid() == 0 else _UNSEEN)}.",
        remedy="End them, or unmount with --lazy: open files go on until they are closed.",
    )


def _end_keeper(pid: int) -> None:
    """Wait until the keeper has ended by itself, or else tell it to."""
    if _ended(pid, _BY_ITSELF):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not _ended(pid, keeper.GRACE + 5):
        raise MountUnhealthy(
            f"The keeper {pid} was told to end and did not within {keeper.GRACE + 5:.0f} s.",
            remedy=f"Its log is {running.LOG_FILE} in the cache directory; kill -9 {pid} ends it at"
            " once.",
        )


def _ended(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
