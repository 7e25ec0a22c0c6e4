"""The mounts of this box: where they are, what they show, whether they are well, and their logs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardtack.core.errors import MountpointError, MountUnhealthy
from hardtack.mount import mountinfo

if TYPE_CHECKING:
    from hardtack.mount.control import RemoteCache

LOG_FILE = "hardtack.log"
"""A mount's log, in its cache directory."""
PROBE_SECONDS = 3.0
"""Within which a mount says who serves it."""


def mountpoints() -> list[Path]:
    """Where hardtack mounts are."""
    return [Path(mounted.mountpoint) for mounted in mountinfo.all_mounts() if mounted.ours]


def sources() -> dict[Path, str]:
    """Where hardtack mounts are, and the source that each shows."""
    return {Path(m.mountpoint): m.source for m in mountinfo.all_mounts() if m.ours}


def source_of(mountpoint: str | Path) -> str:
    """What the mount shows. Raises MountpointError, MountUnhealthy."""
    return str(identity(mountinfo.absolute(os.fspath(mountpoint)))["source"])


def cache_of(mountpoint: str | Path) -> Path | None:
    """The cache directory of the mount at `mountpoint`; None when it doesn't answer, or this user
    can't ask it."""
    try:
        who = mountinfo.identity(mountinfo.absolute(os.fspath(mountpoint)), PROBE_SECONDS)
    except OSError:
        return None
    return Path(str(who["cache"])) if who else None


def remote(mountpoint: str | Path) -> RemoteCache:
    """The cache of the mount at `mountpoint`. Raises MountpointError, MountUnhealthy."""
    from hardtack.mount.control import connect  # late: a probe of health doesn't ask for so much

    path = mountinfo.absolute(os.fspath(mountpoint))
    found = connect(Path(str(identity(path)["cache"])))
    if found is None:
        raise MountUnhealthy(
            f"The mount at {path} answers, its control socket does not.",
            remedy=f"It is starting, or its log says why. {see_log(path)}",
        )
    return found


def health(mountpoint: str | Path, timeout: float = 5.0) -> dict[str, Any]:
    """What the mount says of itself, when process, connection and answer are well.

    Raises MountpointError (no mount), MountUnhealthy (no answer within `timeout` seconds).
    """
    path = mountinfo.absolute(os.fspath(mountpoint))
    require_ours(path)
    answer = mountinfo.ask(path, timeout, file=mountinfo.PROBE)
    if answer.content:
        document: dict[str, Any] = json.loads(answer.content)
        return document
    if answer.errno is not None:
        raise MountUnhealthy(
            f"The mount at {path} is dead: {os.strerror(answer.errno)}.",
            remedy="Mount again; what is stale is cleared.",
        )
    raise MountUnhealthy(f"The mount at {path} did not answer within {timeout:g} s.")


def identity(path: str) -> dict[str, Any]:
    """Who serves the hardtack mount at `path`. Raises MountpointError, MountUnhealthy."""
    require_ours(path)
    who = mountinfo.identity(path, PROBE_SECONDS)
    if who is None:
        raise MountUnhealthy(
            f"The mount at {path} does not answer.",
            remedy=f"{see_log(path)} hardtack unmount --lazy {path} removes it.",
        )
    return who


def require_ours(path: str) -> None:
    mounts = mountinfo.mounted_at(path)
    if not mounts or not mounts[-1].ours:
        found = f"{mounts[-1].type} is" if mounts else "nothing is"
        others = ", ".join(str(point) for point in mountpoints()[:8])
        raise MountpointError(
            f"{path} is not a hardtack mount: {found} mounted there.",
            remedy=f"Mounts of hardtack are at {others}."
            if others
            else f"There is none on this box; hardtack mount SOURCE {path} makes one.",
        )


def not_yours(path: str, what: str, why: OSError) -> MountpointError:
    return MountpointError(
        f"The mount at {path} can't be {what} by user {os.geteuid()}: {why.strerror}.",
        remedy="Run the command as the user who mounted it, or as root (sudo).",
    )


def see_log(path: str) -> str:
    """What to say of the log of the mount at `path`."""
    log = _log_of(path)
    return f"See its log: {log}." if log else f"See {LOG_FILE} in its cache directory."


def _log_of(path: str) -> Path | None:
    """The log of the mount at `path`, as its keeper's command line says; None where none is found.

    A mount that answers says it itself; this is for one that doesn't.
    """
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
            if not any(word.endswith(b"/mount/keeper.py") for word in words[:5]):
                continue
            run_file = Path(os.fsdecode(next(word for word in words if word.endswith(b".json"))))
            if json.loads(run_file.read_bytes())["mountpoint"] == path:
                return run_file.with_name(LOG_FILE)
        except (OSError, StopIteration, ValueError, KeyError):
            continue
    return None
