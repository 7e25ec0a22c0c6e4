"""The mountpoint, before anything is mounted there: made, cleared of what is dead, and checked."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from hardtack.core.errors import MountpointError
from hardtack.core.units import format_count
from hardtack.mount import device, mountinfo
from hardtack.mount.handover import Living
from hardtack.mount.running import PROBE_SECONDS, see_log

_STACKED = 64


@contextlib.contextmanager
def ready_made(path: str) -> Iterator[None]:
    """The mountpoint, where there is none yet; what fails then takes it away again.

    Raises MountpointError.
    """
    parents, made = [each for each in Path(path).parents if not each.exists()], False
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):  # never looked at: a mount there may hang
            os.mkdir(path)
            made = True
    except OSError as problem:
        what = "a file is in its way" if isinstance(problem, FileExistsError) else problem.strerror
        raise MountpointError(
            f"The mountpoint {path} can't be made: {what} ({problem.filename}).",
            remedy="Choose another one.",
        ) from None
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # somebody put something into it
            for each in [Path(path), *parents] if made else []:
                os.rmdir(each)
        raise


def check(path: str) -> None:
    """Clear stale mounts at `path`, then raise MountpointError unless it is an empty directory."""
    clear_stale(path)
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        raise MountpointError(
            f"The mountpoint {path} does not exist.", remedy=f"Make it: mkdir -p {path}"
        ) from None
    except NotADirectoryError:
        raise MountpointError(
            f"The mountpoint {path} is a file, not a directory.",
            remedy="Mount at an empty directory.",
        ) from None
    except PermissionError:
        raise MountpointError(
            f"The mountpoint {path} may not be read by user {os.geteuid()}.",
            remedy="Mount at a directory of this user, or as root (sudo).",
        ) from None
    except OSError as problem:
        raise MountpointError(
            f"The mountpoint {path} can't be read: {problem.strerror}.",
            remedy="Choose another one, or look at its disk: dmesg.",
        ) from None
    if names:
        some = ", ".join(sorted(names)[:3])
        raise MountpointError(
            f"The mountpoint {path} is not empty: it holds {format_count(len(names), 'name')} "
            f"({some}).",
            remedy="Mount at an empty directory; a mount would hide them.",
        )


def clear_stale(path: str) -> int:
    """Detach dead FUSE mounts at `path`, however many are stacked; how many there were.

    Raises MountpointError when a living one is there.
    """
    for count in range(_STACKED):
        mounts = mountinfo.mounted_at(path)
        if not mounts or not mounts[-1].type.startswith("fuse"):
            return count
        top = mounts[-1]
        answer = mountinfo.ask(path, PROBE_SECONDS)
        if answer.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            _refuse_living(path, top, hangs=answer.content is None and answer.errno is None)
        try:
            device.unmount(path, lazy=True)
        except OSError as problem:
            raise MountpointError(
                f"A dead mount at {path} can't be cleared: {problem.strerror}.",
                remedy=f"Clear it as its owner or root: umount -l {path}",
            ) from None
    raise MountpointError(
        f"More than {_STACKED} dead mounts are stacked at {path}.",
        remedy="Mount again, which clears as many more; what makes them is in the logs.",
    )


def _refuse_living(path: str, top: mountinfo.Mounted, *, hangs: bool) -> None:
    if not top.ours:
        raise MountpointError(
            f"Something else is mounted at {path}: {top.type} of {top.source}.",
            remedy=f"Unmount it (umount {path}) or choose another mountpoint.",
        )
    who = mountinfo.identity(path, PROBE_SECONDS) or {}
    if hangs or not who:
        raise Living(
            f"hardtack's mount at {path} is there and does not answer.",
            remedy=f"{see_log(path)} hardtack unmount --lazy {path} removes it.",
        )
    raise Living(
        f"{who['source']} is mounted at {path} already, by hardtack (keeper {who['keeper']}).",
        remedy="--replace puts a new worker on it; hardtack unmount ends it.",
    )
