"""As a service of systemd: a restart of the whole service, keeper and all, breaks no open file."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hardtack.mount import device, mountinfo, running
from tests.mount.conftest import gone
from tests.support.commands import HARDTACK, clean_environment
from tests.support.service_manager import ServiceManager
from tests.support.waiting import until

pytestmark = pytest.mark.needs("root", "fuse")

DATA = random.Random(5).randbytes(3_000_017)


class Service:
    """A mount of a directory under a service manager."""

    def __init__(self, directory: Path) -> None:
        self.bucket, self.point = directory / "bucket", directory / "mnt"
        self.bucket.mkdir()
        self.point.mkdir()
        (self.bucket / "model.bin").write_bytes(DATA)
        env = {
            "HARDTACK_CACHE": str(directory / "cache"), "HARDTACK_KEEP_FREE": "0",
            "MOUNT_PATH": str(self.point),
        }  # fmt: skip
        command = [*HARDTACK, "mount", "-f", f"file://{self.bucket}"]
        self.manager = ServiceManager(directory, command, clean_environment(env))

    @property
    def who(self) -> tuple[int, int]:
        said = running.health(self.point, 20.0)
        return int(said["keeper"]), int(said["worker"])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    made.manager.start()
    yield made
    made.manager.close()
    while mountinfo.mounted_at(str(made.point)):
        with contextlib.suppress(OSError):
            device.unmount(str(made.point), lazy=True)


def test_a_restart_breaks_no_open_file(service: Service, recovery: str) -> None:
    before = service.who
    with (service.point / "model.bin").open("rb", buffering=0) as file:
        assert file.read(1000) == DATA[:1000]
        for _ in range(2):
            service.manager.restart()
            assert file.read(1000) != b""
        file.seek(0)
        assert file.readall() == DATA
    after = service.who
    assert set(before).isdisjoint(after)
    assert len(mountinfo.mounted_at(str(service.point))) == 1
    service.manager.stop()
    assert mountinfo.mounted_at(str(service.point)) == []


def test_a_read_during_the_restart_waits(service: Service) -> None:
    manager = service.manager
    manager._end("restart")
    assert mountinfo.mounted_at(str(service.point))
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((service.point / "model.bin").read_bytes)
        manager.start()
        assert read.result(60) == DATA


def test_the_death_of_the_keeper_breaks_no_open_file(service: Service) -> None:
    _, worker = service.who
    with (service.point / "model.bin").open("rb", buffering=0) as file:
        assert file.read(10) == DATA[:10]
        service.manager.kill()
        until(lambda: gone(worker))
        service.manager.start()
        assert file.readall() == DATA[10:]


def test_another_source_is_mounted_anew(service: Service, tmp_path: Path) -> None:
    """What systemd held is of another bucket: it is cleared away, never shown as the new one."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "new.bin").write_bytes(b"new")
    service.manager._command[-1] = f"file://{other}"
    service.manager.restart()
    assert os.listdir(service.point) == ["new.bin"]
    assert len(mountinfo.mounted_at(str(service.point))) == 1


def test_a_stop_ends_the_mount_and_a_start_makes_another(service: Service) -> None:
    service.manager.stop()
    assert mountinfo.mounted_at(str(service.point)) == []
    service.manager.start()
    assert (service.point / "model.bin").read_bytes() == DATA
