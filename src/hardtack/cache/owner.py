"""One process owns a directory: a cache, or another room's state."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

from hardtack.cache.disk import Disk
from hardtack.core.errors import CacheBusy, CacheError, DiskFull

SPARE = 256 << 10
"""Bytes of disk with which a cache can be opened: the files that SQLite makes for its work, and
the mount's run file."""


class Owner:
    """Holds `<directory>/owner.lock` until `release`. Raises CacheBusy naming who has it."""

    def __init__(self, directory: Path, purpose: str, *, kind: str = "cache") -> None:
        path = directory / "owner.lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(directory, error, kind=kind) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _describe(os.pread(self._fd, 4096, 0))
            os.close(self._fd)
            raise CacheBusy(
                f"the {kind} directory {directory} is in use by {holder}.",
                remedy=f"Ask that process, stop it, or use another --{kind} directory.",
            ) from None
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, json.dumps({"pid": os.getpid(), "purpose": purpose}).encode(), 0)
        except OSError as error:
            self.release()
            raise unusable(directory, error, kind=kind) from error

    def keep_room(self) -> None:
        """Reserve what the next owner needs in order to begin, should others fill the disk: it has
        this room back by beginning its own `owner.lock`."""
        with contextlib.suppress(OSError):  # the file system can't, or the disk is full by now
            Disk().reserve(self._fd, 0, SPARE)

    def release(self) -> None:
        """Let another process own the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def unusable(directory: Path, error: OSError, *, kind: str = "cache") -> CacheError:
    """What a directory that can't be written is told as."""
    said = f"the {kind} directory {directory} can't be written: {error.strerror}."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = f"Free some space on its disk, or name another --{kind} directory."
        return DiskFull(said, remedy=remedy)
    return CacheError(
        said, remedy="Check its permissions and that its file system isn't read-only."
    )


def discard(directory: Path) -> None:
    """Remove a cache directory that nothing was put in, unless somebody else has it by now."""
    try:
        owner = Owner(directory, "removing what is empty")
    except CacheError:
        return
    try:
        shutil.rmtree(directory)
    finally:
        owner.release()


def _describe(data: bytes) -> str:
    try:
        who = json.loads(data)
        return f"process {who['pid']} ({who['purpose'] or 'hardtack'})"
    except (ValueError, KeyError, TypeError):
        return "another process"
