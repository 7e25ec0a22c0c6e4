"""What a demo that was killed left behind: found and cleared by the next one.

A demo's directory says which process owns it. Everything that a demo starts is told that directory
on its command line, so that what is left of it is found by that, and nothing else is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from hardtack.mount import mountinfo

PREFIX = "hardtack-demo-"
_OWNER = "owner.json"
_PATIENCE = 10.0


def own(directory: Path, *, kept: bool = False) -> None:
    """Note that this process owns `directory`, or that it is kept when the process has ended."""
    pid = os.getpid()
    document = {"pid": pid, "started": _started(pid), "in": _namespace(), "kept": kept}
    (directory / _OWNER).write_text(json.dumps(document))


def clear() -> list[Path]:
    """End what demos of this user left that were killed, and remove it; their directories."""
    found = [directory for directory in _directories() if _ownerless(directory)]
    for directory in found:
        remove(directory)
    return found


def remove(directory: Path) -> None:
    """End every process that was told `directory`, unmount what is below it, remove it."""
    serving = [pid for pid, words in _told(directory) if not _mounts(words)]
    _end(serving)
    point = str(directory / "mnt")
    for how in ([], ["--lazy"]):
        if mountinfo.mounted_at(point):
            command = [sys.executable, "-m", "hardtack", "unmount", *how, point]
            subprocess.run(command, check=False, capture_output=True)
    _end([pid for pid, _ in _told(directory)])
    if not mountinfo.mounted_at(point):
        shutil.rmtree(directory, ignore_errors=True)


def _directories() -> Iterable[Path]:
    """Those of demos that this user ran: others may write into the directory they lie in."""
    for directory in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            found = directory.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                yield directory


def _ownerless(directory: Path) -> bool:
    """Whether the process that owns `directory` is gone, and did not mean to leave it."""
    try:
        owner = json.loads((directory / _OWNER).read_text())
        if owner["kept"] or owner["in"] != _namespace():  # a container's own can't be seen here
            return False
        return _started(int(owner["pid"])) != str(owner["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # not one that we know


def _namespace() -> str:
    """The namespace in which this process's ids mean something."""
    return os.readlink("/proc/self/ns/pid")


def _started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; empty where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _told(directory: Path) -> Iterable[tuple[int, list[bytes]]]:
    """The processes of this user whose command line names something in `directory`."""
    within = os.fsencode(directory) + b"/"
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            ours = entry.stat().st_uid == os.geteuid() and int(entry.name) != os.getpid()
            if ours and any(word.startswith(within) for word in words):
                yield int(entry.name), words


def _mounts(words: list[bytes]) -> bool:
    """Whether it is the keeper or the worker of a mount, which unmounting ends."""
    return b"hardtack.mount.worker" in words or any(w.endswith(b"/keeper.py") for w in words)


def _end(pids: Iterable[int]) -> None:
    """SIGTERM, and SIGKILL to what doesn't heed it."""
    alive = {pid: _started(pid) for pid in pids}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _PATIENCE
        while alive and time.monotonic() < deadline:
            alive = {pid: began for pid, began in alive.items() if _started(pid) == began}
            time.sleep(0.02)
