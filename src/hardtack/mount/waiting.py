"""How far named files of a mount are, asked through the mount itself: from any container too.

A mount that hangs holds whoever asks it, so a child process asks, and is left when it is late.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hardtack.core.errors import ConfigError
from hardtack.mount import mountinfo

_LOOK = """
import glob, json, os, sys
top, found = sys.argv[1], {}
for pattern in sys.argv[2:]:
    there = []
    for path in glob.glob(os.path.join(glob.escape(top), pattern), recursive=True):
        if os.path.isdir(path):
            there += [os.path.join(d, f) for d, _, names in os.walk(path) for f in names]
        else:
            there.append(path)
    found[pattern] = files = {}
    for path in sorted(set(there)):
        state = os.getxattr(path, "user.hardtack.state").decode()
        files[os.path.relpath(path, top)] = [os.stat(path).st_size, state]
json.dump(found, sys.stdout)
"""
_READ = """
import sys
for path in sys.argv[1:]:
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
"""


@dataclass(frozen=True)
class File:
    """A file on the mount: its size, and what `user.hardtack.state` says."""

    path: str
    size: int
    state: str

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def present(self) -> int:
        """Bytes on the box, as near as the state tells."""
        if self.complete:
            return self.size
        share = self.state.removeprefix("partial ").rstrip("%")
        return self.size * int(share) // 100 if share.isdecimal() else 0


@dataclass(frozen=True)
class Look:
    """What was found: `files`, and the `unmatched` patterns. `answers`: the mount did in time;
    `why` it didn't."""

    answers: bool
    files: tuple[File, ...] = ()
    unmatched: tuple[str, ...] = ()
    why: str = ""

    @property
    def complete(self) -> bool:
        return self.answers and not self.unmatched and all(f.complete for f in self.files)

    def missing(self) -> list[str]:
        """A line for each thing that isn't there yet."""
        if not self.answers:
            return [f"{self.why}; hardtack status tells what is mounted"]
        return [f"{pattern}: no such file" for pattern in self.unmatched] + [
            f"{file.path}: {file.state}" for file in self.files if not file.complete
        ]


def inside(mountpoint: str, paths: Iterable[str]) -> tuple[str, ...]:
    """`paths` (globs welcome) relative to the mountpoint. Raises ConfigError for one outside."""
    found = []
    for path in paths:
        relative = os.path.relpath(path, mountpoint) if path.startswith("/") else path
        parts = os.path.normpath(relative)
        if parts.split("/")[0] == "..":
            raise ConfigError(
                f"{path} is not below {mountpoint}.", remedy="Give a path on the mount, or in it."
            )
        found.append(parts)
    return tuple(dict.fromkeys(found))


def look(mountpoint: str, patterns: Sequence[str], timeout: float) -> Look:
    """How far the files of `patterns` (see `inside`) are.

    A directory stands for all files below it.
    """
    who = mountinfo.identity(mountpoint, timeout)
    if who is None:
        return silent(mountpoint)
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LOOK, mountpoint, *patterns],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        said, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end(child)
        return silent(mountpoint)
    if child.returncode:
        return silent(mountpoint)  # it went away meanwhile
    found: dict[str, dict[str, tuple[int, str]]] = json.loads(said)
    files = {path: File(path, *state) for there in found.values() for path, state in there.items()}
    unmatched = tuple(pattern for pattern, there in found.items() if not there)
    return Look(True, tuple(files[path] for path in sorted(files)), unmatched)


def silent(mountpoint: str) -> Look:
    """What there is to say where no mount answers."""
    mounts = mountinfo.mounted_at(mountpoint)
    if mounts and mounts[-1].ours:
        return Look(False, why=f"the mount at {mountpoint} doesn't answer")
    what = f"{mounts[-1].type} is" if mounts else "nothing is"
    return Look(False, why=f"{what} mounted at {mountpoint}, where a hardtack mount is expected")


def fetching(mountpoint: str, files: Iterable[File]) -> subprocess.Popen[bytes]:
    """A child that reads `files` through the mount, which makes the mount fetch them."""
    paths = [os.path.join(mountpoint, file.path) for file in files]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _READ, *paths],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child, waiting for it only a moment: one in a hung mount can't be killed."""
    child.send_signal(signal.SIGKILL)
    try:
        child.wait(0.5)
    except subprocess.TimeoutExpired:
        child.returncode = -signal.SIGKILL  # nobody waits for it
    if child.stdout is not None:
        child.stdout.close()
