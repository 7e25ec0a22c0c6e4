"""Workers and keepers killed at random moments, readers of both modes at work all the while."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.mount.conftest import Hold, Mount, children, gone
from tests.support.waiting import until

pytestmark = pytest.mark.needs("root", "fuse")

FILES = {
    name: random.Random(name).randbytes(6_000_003) for name in ("model.bin", "copied.bin")
}  # the first is read in passthrough
EXPECTED = {name: hashlib.sha256(data).digest() for name, data in FILES.items()}
KILLS, AT_WORK, KEEPER_KILLS = 50, 35, 25


class Readers:
    """Two threads that read one file each, drop it from the page cache now and then, and list."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._stop = threading.Event()
        self.rounds = dict.fromkeys(FILES, 0)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        with ThreadPoolExecutor(2) as pool:
            reads = [pool.submit(self._read, name) for name in FILES]
            try:
                yield
                before = dict(self.rounds)
                until(
                    lambda: (
                        any(read.done() for read in reads)
                        or all(self.rounds[name] > before[name] + 1 for name in FILES)
                    )
                )
            finally:
                self._stop.set()
            for read in reads:
                read.result(30)

    def _read(self, name: str) -> None:
        choose = random.Random(name)
        while not self._stop.is_set():
            fd = os.open(self._mount.point / name, os.O_RDONLY)
            if choose.random() < 0.5:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            digest = hashlib.sha256()
            while block := os.read(fd, 1 << 20):
                digest.update(block)
            os.close(fd)
            assert digest.digest() == EXPECTED[name]
            assert sorted(os.listdir(self._mount.point)) == sorted(FILES)
            self.rounds[name] += 1


@pytest.fixture
def full(mount: Mount) -> Mount:
    for name, data in FILES.items():
        (mount.tree / name).write_bytes(data)
    mount.flag("trusted")
    return mount


def answers(mount: Mount) -> bool:
    """The last that the log says is of a worker that serves."""
    last = mount.log().rstrip().rpartition("\n")[2]
    return " took over " in last or " serves " in last


def await_deaths(mount: Mount, count: int) -> None:
    until(lambda: mount.log().count("was killed by") >= count)


def test_workers_killed(full: Mount, recovery: str) -> None:
    """Most are killed while they answer, some while they start."""
    full.start()
    readers, choose, at_work = Readers(full), random.Random(3), 0
    with readers.at_work():
        for number in range(KILLS):
            if number % 5 == 4:
                until(lambda: children(full.keeper))
                time.sleep(choose.random() * 0.2)
            else:
                until(lambda: answers(full))
                time.sleep(choose.random() * 0.03)
            at_work += answers(full)
            for pid in children(full.keeper):
                os.kill(pid, signal.SIGKILL)
            await_deaths(full, number + 1)
    assert at_work >= AT_WORK
    assert min(readers.rounds.values()) > 1


def test_keepers_killed(full: Mount, kept: Hold, recovery: str) -> None:
    """Worker, keeper or both; behind the hold, readers wait for the next keeper and go on."""
    full.start(hold=kept.socket)
    readers, choose = Readers(full), random.Random(4)
    with readers.at_work():
        for victims in choose.choices(("worker", "keeper", "both"), k=KEEPER_KILLS):
            until(lambda: answers(full) and kept.owned(full.point))
            time.sleep(choose.random() * 0.05)
            pids = {"keeper": [full.keeper], "worker": children(full.keeper)}
            pids["both"] = pids["keeper"] + pids["worker"]
            for pid in choose.sample(pids[victims], len(pids[victims])):
                os.kill(pid, signal.SIGKILL)
            for pid in pids["worker"]:
                until(partial(gone, pid))
            if victims != "worker":
                os.waitpid(full.keeper, 0)
                full.start(hold=kept.socket, handover=30.0)
    assert min(readers.rounds.values()) > 1
