"""A box with namespaces of its own: interfaces, routes, rules and mounts are the kernel's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.commands import HARDTACK, clean_environment
from tests.support.ready import PROGRAM, put

CABLE = "192.168.1.7"
WAITER = "systemd-networkd-wait-online.service"
_FILES = {
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/rancher/k3s/config.yaml": "write-kubeconfig-mode: '0600'\n",
    "var/lib/rancher/k3s/server/token": "",
    "etc/systemd/system/k3s.service": "[Unit]\nWants=network-online.target\n"
    "After=network-online.target\n",
    "etc/systemd/system/multi-user.target.wants/k3s.service": "",
    f"usr/lib/systemd/system/{WAITER}": "[Service]\nType=oneshot\n",
    f"etc/systemd/system/network-online.target.wants/{WAITER}": "",
}
_START = """
set -e
mount --bind /proc "$0/proc"
mount -t sysfs sysfs "$0/sys"
ip link set lo up
ip link add cable type veth peer name socket
ip link add eth0 type bridge
ip link set cable master eth0
for name in cable socket eth0; do ip link set "$name" up; done
ip address add 192.168.1.7/24 dev eth0
ip route add default via 192.168.1.1 dev eth0 metric 100
echo started
exec sleep infinity
"""
LEFT_OUT = ("images", "weights", "configuration", "certificates")


class KernelBox:
    """A box below `root`, with k3s's files and systemd's, in the namespaces of the process `pid`.
    Its cable is in: eth0, a bridge with one port, has 192.168.1.7 and the default route."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root, self.pid = root, pid

    def call(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """A finished process that ran on the box."""
        return subprocess.run(
            self.enter(*command), env=clean_environment(), check=False, timeout=90,
            capture_output=True, text=True,
        )  # fmt: skip

    def enter(self, *command: str | Path) -> list[str]:
        """The command that runs `command` on the box."""
        into = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--"]
        return [*into, *map(str, command)]

    def ok(self, *command: str | Path) -> str:
        """What a command printed that must succeed."""
        done = self.call(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prepare(self, *more: str | Path) -> subprocess.CompletedProcess[str]:
        """`hardtack box prepare` as it ended."""
        return self.call(*self.preparing(*more))

    def preparing(self, *more: str | Path) -> list[str | Path]:
        """The command that does it."""
        given = ("--images", self.root / "none", "--manifests", self.root / "none")
        return [*HARDTACK, "box", "prepare", "--root", self.root, *given, *more]

    def prepared(self, *more: str | Path) -> list[str]:
        """The changes that `box prepare` made, or told of."""
        done = self.prepare("--json", *more)
        assert done.returncode == 0, done.stderr
        return [change for step in json.loads(done.stdout)["steps"] for change in step["changes"]]

    def amiss(self) -> set[str]:
        """The checks of the box itself with which `hardtack ready` isn't content."""
        left_out = [word for part in LEFT_OUT for word in ("--without", part)]
        done = self.call(*HARDTACK, "ready", "--root", self.root, "--json", *left_out)
        assert done.returncode in (0, 1), done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        found = {row["name"] for row in told["rows"] if row["state"] != "ready"}
        assert (done.returncode == 0) == told["ready"] == (not found)
        return found

    def write(self, name: str, text: str) -> Path:
        """A file of the box."""
        put(self.root / name, text)
        return self.root / name


def _programs() -> list[str]:
    """What `box prepare` lets the box run at its start: the command, where the PATH has it, or else
    our Python."""
    found = (shutil.which("hardtack"), HARDTACK[0])
    return [program.lstrip("/") for program in found if program]


@contextmanager
def kernel_box(directory: Path) -> Iterator[KernelBox]:
    """The box, until its first process is ended."""
    root = directory / "root"
    for name in ("proc", "sys"):
        (root / name).mkdir(parents=True)
    alone = ["unshare", "--mount", "--net", "--propagation", "private", "--"]
    with subprocess.Popen(
        [*alone, "sh", "-c", _START, str(root)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            box = KernelBox(root, process.pid)
            for name, text in {**_FILES, **dict.fromkeys(_programs(), PROGRAM)}.items():
                box.write(name, text)
            yield box
        finally:
            process.kill()
