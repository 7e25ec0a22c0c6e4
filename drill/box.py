"""The box: a machine of its own in namespaces, with containerd, whose power can be cut."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from tests.support.commands import clean_environment
from tests.support.containerd import Cri, configuration

from drill import image
from drill.init import OWN
from drill.network import Network

_ROOT = Path("/var/lib/rancher/k3s/agent/containerd")
_GROUPS = Path("/sys/fs/cgroup")
_CNI = {
    "cniVersion": "0.4.0", "name": "pods",
    "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": "10.42.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni-addresses",
        },
    }],
}  # fmt: skip


class Box:
    """`disk` outlives a power cut, `run` doesn't; both lie in `directory`."""

    def __init__(self, directory: Path, network: Network, pause: str) -> None:
        self.directory = directory
        self.disk, self.run = directory / "disk", directory / "run"
        self.group = f"/{directory.parent.name}"
        self._network = network
        self._pause = pause
        self._power: subprocess.Popen[bytes] | None = None
        self._power_log = directory / "power.log"
        self._init = 0
        self.cri: Cri | None = None

    def make(self) -> None:
        """An empty disk."""
        for name in OWN:
            (self.disk / name).mkdir(parents=True)

    def path(self, name: str) -> Path:
        """Where a file of the box is seen from here; nothing that is mounted there is."""
        if name.startswith("/run/"):
            return self.run / name.removeprefix("/run/")
        return self.disk / name.lstrip("/")

    def boot(self) -> None:
        """Power on: process 1, then containerd."""
        shutil.rmtree(self.run, ignore_errors=True)
        (self.run / "cgroup").mkdir(parents=True)
        for name in ("k3s/containerd", "cni", "netns"):
            (self.run / name).mkdir(parents=True)
        (self.run / "cni/10-pods.conflist").write_text(json.dumps(_CNI))
        state = Path("/run/k3s/containerd")
        (self.run / "containerd.toml").write_text(configuration(
            root=_ROOT, state=state / "state", socket=state / "containerd.sock",
            pause=self._pause, snapshotter="overlayfs", plugins=Path("/usr/lib/cni"),
            networks=Path("/run/cni"),
        ))  # fmt: skip
        with self._power_log.open("wb") as log:  # unshare complains of each death of its child
            self._power = subprocess.Popen([
                "nsenter", f"--net={self._network.box_namespace}", "--",
                "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                "--propagation", "private", "--",
                sys.executable, str(Path(__file__).with_name("init.py")),
                str(self.disk), str(self.run),
            ], stderr=log)  # fmt: skip
        self._wait_for(self.run / "booted")
        children = Path(f"/proc/{self._power.pid}/task/{self._power.pid}/children")
        self._init = int(children.read_text().split()[0])
        log = (self.directory / "containerd.log").open("ab")
        with log:
            subprocess.Popen(
                self.enter("containerd", "--config", "/run/containerd.toml"),
                stdout=log, stderr=log,
            )  # fmt: skip
        socket = self.run / "k3s/containerd/containerd.sock"
        self._wait_for(socket)
        self.cri = Cri(socket)
        deadline = time.monotonic() + 300
        while True:
            try:
                self.cri.call("RuntimeService/Version")
            except grpc.RpcError:
                if time.monotonic() > deadline:
                    raise RuntimeError(_text(self.directory / "containerd.log")) from None
                time.sleep(0.1)
            else:
                return

    def power_off(self) -> None:
        """Everything on the box is killed at once; what was mounted and what was in memory is
        gone. The kernel forgets what it has read of the disk."""
        if self._power is None:
            return
        if self.cri is not None:
            self.cri.close()
            self.cri = None
        try:
            os.kill(self._init or self._power.pid, 9)  # with unshare its child goes too
        except ProcessLookupError:
            self._init = 0
        self._power.wait()
        self._power, self._init = None, 0
        self._network.restart()
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3\n")

    def enter(self, *command: str) -> list[str]:
        """`command` as it is run on the box."""
        spaces = [
            f"--{space}=/proc/{self._init}/ns/{file}"
            for space, file in (("mount", "mnt"), ("pid", "pid"), ("net", "net"))
        ]
        return ["nsenter", *spaces, "--", *command]

    def tried(self, *command: str) -> bool:
        """Whether a command on the box ends well."""
        return not subprocess.run(self.enter(*command), capture_output=True, check=False).returncode

    def do(self, *command: str) -> str:
        """The output of a command on the box, which must end well."""
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"On the box, {' '.join(command)}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def state_of(self, path: str) -> str:
        """How much of a file on the mount is on the box, as its attribute says."""
        program = f"import os; print(os.getxattr({path!r}, 'user.hardtack.state').decode())"
        return self.do(sys.executable, "-c", program).strip()

    def hardtack(self, *arguments: str, env: dict[str, str] | None = None,
                 codes: tuple[int, ...] = (0,)) -> str:  # fmt: skip
        """The output of `hardtack` on the box; it must end with one of `codes`."""
        done = subprocess.run(
            self.enter(sys.executable, "-m", "hardtack", *arguments), cwd=image.ROOT,
            env=clean_environment(env), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in codes:
            raise RuntimeError(
                f"`hardtack {' '.join(arguments)}` ended with {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def json(self, *arguments: str, env: dict[str, str] | None = None,
             codes: tuple[int, ...] = (0,)) -> Any:  # fmt: skip
        """What `hardtack … --json` says."""
        return json.loads(self.hardtack(*arguments, "--json", env=env, codes=codes))

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 300
        while not path.exists():
            if time.monotonic() > deadline or (self._power and self._power.poll() is not None):
                raise RuntimeError(
                    f"The box never makes {path.name}: {self._power_log.read_text()}"
                    f"{_text(self.directory / 'containerd.log')}"
                )
            time.sleep(0.02)


def _text(log: Path) -> str:
    """What a log holds, if there is one."""
    return log.read_text(errors="replace") if log.exists() else ""


def remove_groups(name: str) -> None:
    """Remove the control groups that the box of the directory `name` had for its pods.

    In version 1 each controller has a tree of its own. What ran in them was killed, and may not
    have ended quite yet.
    """
    deadline = time.monotonic() + 120
    for top in (_GROUPS / name, *_GROUPS.glob(f"*/{name}")):
        for directory, _, _ in os.walk(top, topdown=False):
            while not _removed(directory):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"Something still runs in {directory}.")
                time.sleep(0.1)


def _removed(group: str) -> bool:
    try:
        os.rmdir(group)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
