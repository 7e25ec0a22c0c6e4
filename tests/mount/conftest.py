"""Mounts for tests: each with its own cache directory, unmounted at the end whatever happened."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardtack.cache.api import Options
from hardtack.mount import device, hold, launch, mountinfo, running
from hardtack.source.options import SourceOptions
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


class Mount:
    """A mount of the fake cache; `tree` is what it shows."""

    def __init__(self, directory: Path) -> None:
        self.cache = directory / "cache"
        self.tree = self.cache / "tree"
        self.point = directory / "mnt"
        self.tree.mkdir(parents=True)
        self.point.mkdir()
        self.keeper = 0

    def start(self, **options: object) -> Mount:
        chosen = launch.MountOptions(opener="tests.mount.fake_cache:open_fake", **options)  # type: ignore[arg-type]
        self.keeper = launch.mount(
            "file:///models", self.point, SourceOptions(), self.cache, Options(), chosen
        )
        return self

    @property
    def worker(self) -> int:
        return int(running.health(self.point, 20.0)["worker"])

    def flag(self, name: str, on: bool = True) -> None:
        """Tell the fake cache something by a file."""
        if on:
            (self.cache / name).touch()
        else:
            (self.cache / name).unlink()

    def wait_for(self, name: str) -> None:
        until((self.cache / name).exists)

    def log(self) -> str:
        return (self.cache / "hardtack.log").read_text()

    def end(self) -> None:
        path = str(self.point)
        for _ in range(10):
            if not mountinfo.mounted_at(path):
                break
            with contextlib.suppress(OSError):
                device.unmount(path, lazy=True)
        if self.keeper:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.keeper, signal.SIGKILL)
                os.waitpid(self.keeper, 0)


class Hold:
    """A hold of its own process, at `socket`."""

    def __init__(self, socket: Path) -> None:
        self.socket = str(socket)
        self.process = self.start()

    def start(self, grace: str = "600") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "hardtack.mount.hold", self.socket, grace]
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}
        )
        until(self.answers)
        return process

    def answers(self) -> bool:
        try:
            hold.ask(self.socket, {"do": "take"})
        except OSError:
            return False
        return True

    def owned(self, point: Path) -> bool | None:
        """Whether a keeper owns the mount at `point`; None when the hold doesn't have it."""
        kept, fds = hold.ask(self.socket, {"do": "take", "mountpoint": str(point)})
        for fd in fds:
            os.close(fd)
        return kept.get("owned")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    """`pid` ended (its zombie may wait for its parent)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
    made = Mount(tmp_path)
    yield made
    made.end()


@pytest.fixture
def kept(tmp_path: Path, mount: Mount) -> Iterator[Hold]:
    process = Hold(tmp_path / "hold.sock")
    yield process
    process.end()


@pytest.fixture(params=["passthrough", "copying"])
def kind(request: pytest.FixtureRequest, mount: Mount, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which complete files are read; both are asked for on a trusted cache."""
    mount.flag("trusted")
    if request.param == "copying":
        monkeypatch.setenv("HARDTACK_FUSE_DISABLE", "passthrough")
    return str(request.param)


@pytest.fixture(params=["resend", "slots"])
def recovery(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which an unanswered request outlives a worker."""
    if request.param == "slots":
        monkeypatch.setenv("HARDTACK_FUSE_DISABLE", "resend")
    return str(request.param)
