"""Readers never notice that a worker died, was replaced, or that it happened a hundred times."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hardtack.core.errors import MountpointError, MountUnhealthy
from hardtack.mount import launch, mountinfo, running
from tests.mount.conftest import Mount, gone
from tests.support.stopping import stopped
from tests.support.waiting import until

pytestmark = pytest.mark.needs("root", "fuse")

DATA = random.Random(2).randbytes(8_000_003)


@pytest.fixture
def mounted(mount: Mount, recovery: str) -> Mount:
    (mount.tree / "model.bin").write_bytes(DATA)
    return mount.start()


def test_a_read_under_way_outlives_the_worker(mounted: Mount) -> None:
    mounted.flag("absent")
    worker = mounted.worker
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit((mounted.point / "model.bin").read_bytes) for _ in range(4)]
        mounted.wait_for("waiting")
        os.kill(worker, signal.SIGKILL)
        until(lambda: gone(worker))
        mounted.flag("absent", on=False)
        assert all(read.result(60) == DATA for read in reads)
    assert mounted.worker != worker


def test_open_files_outlive_the_worker(mounted: Mount) -> None:
    """Handles of both modes: a file opened before is read and closed after."""
    with (mounted.point / "model.bin").open("rb", buffering=0) as copied:
        assert copied.read(10) == DATA[:10]
        mounted.flag("trusted")
        os.kill(mounted.worker, signal.SIGKILL)
        assert copied.read(10) == DATA[10:20]
        assert (mounted.point / "model.bin").read_bytes() == DATA
    with (mounted.point / "model.bin").open("rb", buffering=0) as passed:
        assert passed.read(10) == DATA[:10]
        os.kill(mounted.worker, signal.SIGKILL)
        with (mounted.point / "model.bin").open("rb", buffering=0) as again:
            assert again.read() == DATA
        assert passed.read() == DATA[10:]


def test_replaced_under_load(mounted: Mount) -> None:
    stop = threading.Event()

    def read() -> int:
        count = 0
        while not stop.is_set():
            assert (mounted.point / "model.bin").read_bytes() == DATA
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(read) for _ in range(2)]
        try:
            before = mounted.worker
            for _ in range(3):
                launch.replace(mounted.point)
            assert mounted.worker != before
        finally:
            stop.set()
        assert sum(read.result(60) for read in reads) > 0


def test_what_is_not_answered_in_time_is_left_to_the_successor(mounted: Mount) -> None:
    """§ 8.1: closing the cache fails its waiting reads; the reader must not hear of that."""
    mounted.flag("absent")
    with ThreadPoolExecutor(2) as pool:
        read = pool.submit((mounted.point / "model.bin").read_bytes)
        mounted.wait_for("waiting")
        replacing = pool.submit(launch.replace, mounted.point)
        until(lambda: "were not answered" in mounted.log())
        mounted.flag("absent", on=False)
        assert read.result(60) == DATA
        replacing.result(60)


def test_the_keeper_takes_its_worker_along_and_the_next_mount_clears_up(mount: Mount) -> None:
    (mount.tree / "model.bin").write_bytes(DATA)
    mount.start()
    worker, keeper = mount.worker, mount.keeper
    os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)
    until(lambda: gone(worker))
    with pytest.raises(MountUnhealthy):
        running.health(mount.point)
    mount.start()
    assert (mount.point / "model.bin").read_bytes() == DATA
    assert len(mountinfo.mounted_at(str(mount.point))) == 1


def test_sigterm_drains_and_unmounts(mount: Mount) -> None:
    (mount.tree / "model.bin").write_bytes(DATA)
    mount.start()
    mount.flag("absent")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(
            subprocess.run,
            ["cat", str(mount.point / "model.bin")],
            capture_output=True,
            check=False,
        )
        mount.wait_for("waiting")
        os.kill(mount.keeper, signal.SIGTERM)
        mount.flag("absent", on=False)
        os.waitpid(mount.keeper, 0)
        read.result(30)  # what it had asked for was answered; what it asks later is ENOTCONN
    assert "was killed" not in mount.log()
    assert not mountinfo.mounted_at(str(mount.point))
    with pytest.raises(MountpointError):
        running.health(mount.point)


def test_a_stopped_worker_is_unhealthy(mount: Mount) -> None:
    mount.start()
    worker = mount.worker
    with stopped(worker):
        with pytest.raises(MountUnhealthy) as caught:
            running.health(mount.point, 0.3)
        assert str(mount.point) in str(caught.value)
    assert running.health(mount.point, 20)["worker"] == worker
