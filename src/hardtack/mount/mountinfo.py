"""What is mounted where, whether it answers, and who uses it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hardtack.mount.device import TYPE

PROBE = ".hardtack"
"""The synthetic file in the root of each mount: JSON about who serves it."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of mountinfo; `device` is `major:minor`; `options` and `read_only` are those of the
    file system itself, whatever the mount allows; `shared`: what is mounted below shows in others'
    namespaces; `root`: the directory of the file system that is mounted."""

    device: str
    mountpoint: str
    type: str
    source: str
    options: tuple[str, ...] = ()
    shared: bool = False
    root: str = "/"

    @property
    def read_only(self) -> bool:
        return "ro" in self.options

    @property
    def ours(self) -> bool:
        return self.type == TYPE


def parse(text: str) -> list[Mounted]:
    """The mounts of a /proc/PID/mountinfo, in the kernel's order."""
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, source, options, *_) = left.split(" "), right.split(" ")
        shared = any(field.startswith("shared:") for field in fields[6:])
        found.append(
            Mounted(
                fields[2], _unescape(fields[4]), kind, _unescape(source),
                tuple(map(_unescape, options.split(","))), shared, _unescape(fields[3]),
            )
        )  # fmt: skip
    return found


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def all_mounts() -> list[Mounted]:
    """The mounts that this process sees."""
    return parse(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def mounted_at(path: str) -> list[Mounted]:
    """What is mounted at `path`, the topmost last."""
    return [mounted for mounted in all_mounts() if mounted.mountpoint == path]


def absolute(path: str) -> str:
    """`path` without links, not touching its last part (which may be a mount that hangs)."""
    parent, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(parent), name)


_CHILD = """
import os, sys
try:
    if sys.argv[1]:
        fd = os.open(sys.argv[1], os.O_RDONLY)
        answer = b'+' + os.read(fd, 65536)
        os.close(fd)  # whoever has the answer may unmount
    else:
        os.stat(sys.argv[2]); os.statvfs(sys.argv[2])
        answer = b'+'
except OSError as problem:
    answer = b'-%d' % problem.errno
os.write(1, answer)
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a mount answered: `content` of the file, or an errno; both None when it hangs."""

    content: bytes | None
    errno: int | None = None


def ask(mountpoint: str, timeout: float, *, file: str = "") -> Answer:
    """Read `file` below `mountpoint` (or stat the mountpoint itself) within `timeout` seconds.

    In a child process: a thread that waits for a hung FUSE answer can't be ended, and would keep
    its process from ending.
    """
    ours, theirs = os.pipe()
    arguments = [os.path.join(mountpoint, file) if file else "", mountpoint]
    command = [sys.executable, "-I", "-S", "-c", _CHILD, *arguments]
    pid = os.posix_spawn(
        sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 1)]
    )
    os.close(theirs)
    try:
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        data = os.read(ours, 1 << 16) if poll.poll(max(1, int(timeout * 1000))) else b""
    finally:
        os.close(ours)
        _end(pid)
    if not data:
        return Answer(None)
    return Answer(data[1:]) if data[:1] == b"+" else Answer(None, int(data[1:]))


def _end(pid: int) -> None:
    """End the child, waiting for it only a moment: one in a hung mount can't be killed."""
    with contextlib.suppress(ProcessLookupError):
        for _ in range(50):
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def identity(mountpoint: str, timeout: float) -> dict[str, object] | None:
    """What the `.hardtack` file of a living hardtack mount says; None when it doesn't answer."""
    answer = ask(mountpoint, timeout, file=PROBE)
    if not answer.content:
        return None
    document: dict[str, object] = json.loads(answer.content)
    return document


def users(mountpoint: str) -> list[tuple[int, str]]:
    """(pid, command) of the processes with a file, directory or mapping in the mount.

    Only those that the caller may look at.
    """
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and _uses(process, mountpoint):
            with contextlib.suppress(OSError):
                found.append((int(process.name), (process / "comm").read_text().strip()))
    return sorted(found)


def _uses(process: Path, mountpoint: str) -> bool:
    inside = mountpoint.rstrip("/") + "/"
    with contextlib.suppress(OSError):
        links = [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]
        for link in links:
            with contextlib.suppress(OSError):
                target = os.readlink(link)
                if target == mountpoint or target.startswith(inside):
                    return True
        return inside in (process / "maps").read_text(errors="surrogateescape")
    return False
