"""The published unit under a real systemd: a restart and a crash break no open file, a stop ends
all. (`test_fdstore.py` has the finer cases, with a manager that tells what it was told.)"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import clean_environment
from tests.support.systemd import Systemd, systemd
from tests.support.waiting import until

pytestmark = pytest.mark.needs("fuse", "systemd as PID 1")

UNIT = Path(__file__).parents[2] / "deploy/systemd/hardtack@.service"
DATA = random.Random(6).randbytes(3_000_017)
_READ = """
import hashlib, sys
with open(sys.argv[1], "rb", buffering=0) as file:
    total = hashlib.sha256(file.read(1000))
    print("open", flush=True)
    sys.stdin.readline()
    while piece := file.read(100_000):
        total.update(piece)
print(total.hexdigest())
"""


class Service:
    """`hardtack@….service` of a systemd, for a mountpoint below `directory`."""

    def __init__(self, directory: Path, manager: Systemd) -> None:
        self.manager, self.point = manager, directory / "mnt"
        self.point.mkdir()
        bucket = directory / "bucket"
        bucket.mkdir()
        (bucket / "model.bin").write_bytes(DATA)
        escaped = manager.run("systemd-escape", "--path", self.point).strip()
        self.name = f"hardtack@{escaped}.service"
        program = Path(sys.executable).with_name("hardtack")
        text = UNIT.read_text().replace("=hardtack ", f"={program} ")
        text = text.replace("/etc/hardtack/%i.env", f"{directory}/mount.env")
        (manager.units / UNIT.name).write_text(text)
        log = manager.units / f"{UNIT.name}.d/log.conf"
        log.parent.mkdir()
        to = f"append:{directory}/service.log"
        log.write_text(f"[Service]\nStandardOutput={to}\nStandardError={to}\n")
        (directory / "mount.env").write_text(
            f"S3_BUCKET=file://{bucket}\nCACHE_PATH={directory}/cache\nHARDTACK_KEEP_FREE=0\n"
        )
        manager.run("systemctl", "daemon-reload")

    def does(self, what: str) -> None:
        self.manager.run("systemctl", what, self.name)

    @property
    def state(self) -> tuple[str, str, int]:
        """Active or not, the result, and how many descriptors systemd holds."""
        said = self.manager.shows(self.name)
        return said["ActiveState"], said["Result"], int(said["NFileDescriptorStore"])

    @property
    def main(self) -> int:
        return int(self.manager.shows(self.name)["MainPID"])

    @property
    def mounts(self) -> int:
        lines = Path(f"/proc/{self.manager.pid}/mountinfo").read_text().splitlines()
        return sum(line.split()[4] == str(self.point) for line in lines)

    @contextmanager
    def reader(self) -> Iterator[subprocess.Popen[str]]:
        """A process that has read the start of the file and reads the rest when told to."""
        command = self.manager.entered(sys.executable, "-c", _READ, self.point / "model.bin")
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=clean_environment(),
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
            said, _ = process.communicate("go on\n", timeout=120)
            assert said.strip() == hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with systemd(tmp_path) as manager:
        yield Service(tmp_path, manager)


def test_the_unit_under_systemd(service: Service) -> None:
    service.does("start")
    assert service.state == ("active", "success", 2)
    first = service.main
    with service.reader(), service.reader():
        service.does("restart")
        second = service.main
        assert second not in (0, first)
        assert service.mounts == 1
    with service.reader():
        service.manager.run("kill", "-KILL", str(second))
        until(lambda: service.state[0] == "active" and service.main not in (0, second))
        assert service.mounts == 1
    with service.reader():
        service.does("reload")
    service.does("stop")
    assert service.state == ("inactive", "success", 0)
    assert service.mounts == 0
    service.does("start")
    with service.reader():
        assert service.mounts == 1
    service.does("stop")
