"""A real systemd as the first process of namespaces of its own, with a few units and no more."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.cgroups import empty
from tests.support.commands import clean_environment
from tests.support.waiting import until

PROGRAM = Path("/lib/systemd/systemd")
_TARGETS = (
    "basic", "default", "multi-user", "paths", "shutdown", "slices", "sockets", "sysinit", "timers",
)  # fmt: skip
_START = """
set -e
echo $$ > "$1/cgroup.procs"
exec unshare --mount --propagation private --pid --fork --kill-child --cgroup --ipc --uts --net -- \
  sh -c '
set -e
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec /lib/systemd/systemd --system --unit=default.target --show-status=0
'
"""


def hierarchy() -> Path | None:
    """Where cgroup v2 is mounted; systemd needs no controller of it."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(point)
    return None


class Systemd:
    """`pid` as this process sees it; units are read from `units`, the foremost place of them."""

    def __init__(self, pid: int, units: Path) -> None:
        self.pid, self.units = pid, units

    def entered(self, *command: str | Path) -> list[str]:
        """What runs `command` beside it."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--cgroup", "--net", "--"]
        return [*enter, *map(str, command)]

    def run(self, *command: str | Path) -> str:
        """What a command prints that must succeed."""
        done = subprocess.run(
            self.entered(*command), capture_output=True, text=True, check=False, timeout=120,
            env=clean_environment(),
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def shows(self, unit: str) -> dict[str, str]:
        """The properties of a unit."""
        said = self.run("systemctl", "show", unit)
        return dict(line.partition("=")[::2] for line in said.splitlines())


@contextmanager
def systemd(directory: Path, places: Sequence[Path] = ()) -> Iterator[Systemd]:
    """It runs below `directory`, reads `directory/units` or the `places`, the foremost first, and
    is gone at the end, with all that it started and mounted."""
    places = places or [directory / "units"]
    units, top = places[0], hierarchy()
    assert top is not None
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for name in _TARGETS:
        (places[-1] / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (directory / "generators").mkdir()
    cgroup = top / f"hardtack-test-{os.getpid()}-{directory.name}"
    cgroup.mkdir()
    env = {
        "container": "test", "SYSTEMD_UNIT_PATH": ":".join(map(str, places)),
        "SYSTEMD_LOG_TARGET": "console",
        "SYSTEMD_GENERATOR_PATH": str(directory / "generators"),
    }  # fmt: skip
    with (directory / "systemd.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", _START, "sh", str(cgroup)], env=clean_environment(env), stdout=log,
            stderr=log,
        )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def started() -> Systemd | None:
        found = children.read_text().split()
        if not found or Path(f"/proc/{found[0]}/comm").read_text() != "systemd\n":
            assert process.poll() is None, (directory / "systemd.log").read_text()
            return None
        made = Systemd(int(found[0]), units)
        answers = subprocess.run(
            made.entered("systemctl", "is-system-running"), capture_output=True, text=True,
            check=False, timeout=30,
        ).stdout  # fmt: skip
        return made if answers == "running\n" else None

    try:
        yield until(started, (directory / "systemd.log").read_text)
    finally:
        process.kill()
        process.wait()
        empty(cgroup)
