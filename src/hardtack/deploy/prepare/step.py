"""What a step of `box prepare` is: a look that touches nothing, and the changes it finds due."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.core.errors import BoxError
from hardtack.core.files import write_atomically
from hardtack.deploy.facts import read as facts
from hardtack.deploy.facts.model import Facts
from hardtack.images.k3s import K3S_IMAGES
from hardtack.images.platforms import Platform

_PATIENCE = 30.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command: str) -> str:
    """What a program of the system prints. Raises BoxError with what it said."""
    program = find(command[0])
    if program is None:
        raise BoxError(
            f"{command[0]} is needed and not installed.",
            remedy="Install it (Debian: iproute2 for ip, iptables for iptables).",
        )
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, errors="replace", check=False,
            timeout=_PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BoxError(f"{' '.join(command)} didn't end within {_PATIENCE:g} s.") from None
    except OSError as error:
        raise BoxError(
            f"{program} can't be run: {error.strerror}.", remedy="Install it again."
        ) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        remedy = "Run it as root." if os.geteuid() else ""
        raise BoxError(f"{' '.join(command)}: {said}.", remedy=remedy)
    return done.stdout


def find(program: str) -> str | None:
    """Where a program of the system lies; sbin is looked through too."""
    return shutil.which(program) or shutil.which(program, path=_PATH)


def set_clock(seconds: float) -> None:
    """Set the system's clock to `seconds` since 1970 UTC. Raises BoxError."""
    try:
        time.clock_settime(time.CLOCK_REALTIME, seconds)
    except PermissionError:
        raise BoxError(
            "The clock may not be set.", remedy="Run as root; in a container with CAP_SYS_TIME."
        ) from None


@dataclass(frozen=True)
class Target:
    """The box, what a person wants of it, and the ways to it that tests replace.

    `images`, `manifests`: directories to install from, where they are there; `node_address`: the
    address that the node has for good; `command`: how to run hardtack at boot.
    """

    root: Path = Path("/")
    images: Path = Path("/usr/share/hardtack/images")
    manifests: Path = Path("/usr/share/hardtack/manifests")
    flavor: str | None = None
    node_address: str | None = None
    images_to: Path = K3S_IMAGES
    platform: Platform = field(default_factory=Platform.here)
    command: tuple[str, ...] = ("hardtack", "box", "prepare")
    run: Callable[..., str] = run
    now: Callable[[], float] = time.time
    host_name: Callable[[], str] = socket.gethostname
    set_clock: Callable[[float], None] = set_clock

    def facts(self) -> Facts:
        """The box as it is at this moment. Raises ConfigError."""
        return facts.read(self.root, now=self.now, helpers_too=False)

    def path(self, name: str | Path) -> Path:
        """The file that the box knows as `name`."""
        return self.root / str(name).lstrip("/")


@dataclass(frozen=True)
class Change:
    """One thing to do, told to people in `text` before it is done."""

    text: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Step:
    """`plan` looks and touches nothing: no change is due where it finds none. `undo` finds the
    changes that take the step back, or says why it stays."""

    name: str
    about: str
    plan: Callable[[Target], Iterable[Change]]
    undo: Callable[[Target], Iterable[Change]] | str


def command(target: Target, *words: str) -> Change:
    """The change that a program makes."""
    return Change(" ".join(words), lambda: target.run(*words))


def file(target: Target, name: str | Path, text: str) -> list[Change]:
    """The change that makes the file `name` hold `text`; none where it does."""
    path = target.path(name)
    if path.is_file() and path.read_text(errors="replace") == text:
        return []

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())

    return [Change(f"write {path}", write)]


def gone(target: Target, names: Iterable[str | Path]) -> list[Change]:
    """The changes that remove those of the files that are there."""
    there = [p for name in names if (p := target.path(name)).is_symlink() or p.exists()]
    return [Change(f"remove {path}", path.unlink) for path in there]
