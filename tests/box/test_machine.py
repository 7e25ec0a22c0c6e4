"""A mount under everything that happens to a box, against a model: never wrong bytes.

Bounded here. HARDTACK_MACHINE_EXAMPLES and HARDTACK_MACHINE_STEPS make it longer;
HARDTACK_MACHINE_SEED repeats a run, whose seed is printed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hardtack.cache.api import Options
from hardtack.core.errors import CacheBusy, DiskFull, MountError
from hardtack.mount import launch, running, unmounting
from hardtack.source.options import SourceOptions
from tests.support.commands import forget_caches
from tests.support.s3 import S3Server, s3_server

pytestmark = pytest.mark.needs("fuse", "root")

EXAMPLES = int(os.environ.get("HARDTACK_MACHINE_EXAMPLES", "5"))
STEPS = int(os.environ.get("HARDTACK_MACHINE_STEPS", "20"))
KEYS = st.sampled_from(["a.bin", "models/b.onnx", "models/c.onnx"])
SIZES = st.sampled_from([0, 1, 4095, 1 << 20, (1 << 20) + 1, 3_000_001])
PICKS = st.integers(0, 1 << 40)
"""Which of what there is then: what is drawn must not hang on how far the box has come."""
STARTS = st.one_of(st.just(0), PICKS)
COUNTS = st.sampled_from([1 << 40, 1, 4096, 1 << 20])
HELPLESS = frozenset({errno.EHOSTUNREACH, errno.ESTALE, errno.EIO})
"""What a read may end with, besides right bytes, where the source can't help."""

T = TypeVar("T")


class Box(RuleBasedStateMachine):
    """A box and its bucket; `now` is what the bucket holds, `versions` all it ever held."""

    server: ClassVar[S3Server]

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="hardtack-machine-"))
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "none", self.directory], check=True
        )
        self.ballast = self.directory / "ballast"
        self.cache, self.point = self.directory / "cache", self.directory / "mnt"
        self.point.mkdir()
        self.bucket = f"machine-{random.Random(str(self.directory)).randrange(1 << 40)}"
        self.server.create_bucket(self.bucket)
        self.online, self.sound, self.number = True, True, 0
        self.now: dict[str, bytes] = {}
        self.versions: dict[str, bytes] = {}
        self.handles: list[tuple[int, str, bytes]] = []
        self.put("a.bin", 3_000_001)
        self.mount()

    # -- the bucket

    @rule(key=KEYS, size=SIZES)
    def put(self, key: str, size: int) -> None:
        self.number += 1
        body = random.Random(self.number).randbytes(size)
        self.versions[self.server.put(self.bucket, key, body)] = body
        self.now[key] = body

    @precondition(lambda self: len(self.now) > 1)
    @rule(which=PICKS)
    def delete(self, which: int) -> None:
        key = picked(sorted(self.now), which)
        self.server.delete(self.bucket, key)
        del self.now[key]

    @precondition(lambda self: self.online)
    @rule()
    def cut(self) -> None:
        self.server.stop()
        self.online = False

    @precondition(lambda self: not self.online)
    @rule()
    def restore(self) -> None:
        self.server.start()
        self.online = True
        self.list_anew()

    @precondition(lambda self: self.online)
    @rule()
    def list_anew(self) -> None:
        """§ 2.3: a new open sees what the mount shows at that moment."""
        if not self.managed(lambda: running.remote(self.point).refresh()):
            return
        found = {str(p.relative_to(self.point)): p for p in self.point.rglob("*") if p.is_file()}
        assert set(found) == set(self.now)
        for key, path in found.items():
            assert os.getxattr(path, "user.hardtack.etag").decode() == md5(self.now[key])

    # -- readers

    @rule(which=PICKS, start=STARTS, count=COUNTS)
    def read_anew(self, which: int, start: int, count: int) -> None:
        fd, key, body = self.open(picked(self.listed(), which))
        try:
            self.read(fd, key, body, start, count)
        finally:
            os.close(fd)

    @precondition(lambda self: len(self.handles) < 8)
    @rule(which=PICKS)
    def keep_open(self, which: int) -> None:
        self.handles.append(self.open(picked(self.listed(), which)))

    @precondition(lambda self: self.handles)
    @rule(which=PICKS, start=STARTS, count=COUNTS)
    def read_kept(self, which: int, start: int, count: int) -> None:
        """§ 2.2: an open handle reads the identity that it opened."""
        self.read(*picked(self.handles, which), start, count)

    def listed(self) -> list[str]:
        """§ 1.3, § 3.3: with and without network."""
        return sorted(str(p.relative_to(self.point)) for p in self.point.rglob("*") if p.is_file())

    def open(self, key: str) -> tuple[int, str, bytes]:
        """Descriptor, key, and the bytes that it must read from now on."""
        fd = os.open(self.point / key, os.O_RDONLY)
        return fd, key, self.versions[os.getxattr(fd, "user.hardtack.etag").decode()]

    def read(self, fd: int, key: str, body: bytes, start: int, count: int) -> None:
        """A range, or all of it."""
        start, count = start % (len(body) + 1), min(count, len(body) or 1)
        complete = os.getxattr(fd, "user.hardtack.state") == b"complete"
        try:
            found = pread_all(fd, count, start)
        except OSError as problem:
            assert problem.errno in HELPLESS, problem
            assert not (complete and self.sound), f"{key} was complete: {problem}"
            assert not (self.online and self.now.get(key) == body), f"{key} is there: {problem}"
            return
        assert found == body[start : start + count], f"wrong bytes of {key} at {start}"

    # -- the box's life

    @rule()
    def kill_worker(self) -> None:
        """§ 8.1: nobody notices."""
        os.kill(self.worker(), signal.SIGKILL)

    @rule()
    def replace(self) -> None:
        patiently(lambda: launch.replace(self.point))

    @rule()
    def kill_keeper(self) -> None:
        """§ 8.2."""
        os.kill(self.keeper, signal.SIGKILL)
        os.waitpid(self.keeper, 0)
        self.close_handles()
        self.mount()

    @rule()
    def remount(self) -> None:
        self.unmount()
        forget_caches()
        self.mount()

    @rule()
    def forget(self) -> None:
        forget_caches()

    @rule()
    def evict(self) -> None:
        self.managed(lambda: running.remote(self.point).evict(["*"]))

    @precondition(lambda self: not self.ballast.exists())
    @rule(left=st.sampled_from([0, 4096, 100_000, 2 << 20]))
    def fill_the_disk(self, left: int) -> None:
        """Reads go on; what is new isn't kept."""
        with contextlib.suppress(OSError), self.ballast.open("wb") as file:
            while file.write(bytes(1 << 16)):
                file.flush()
        if self.ballast.exists():  # on a disk that is quite full there's no room for its name
            os.truncate(self.ballast, max(0, self.ballast.stat().st_size - left))

    @precondition(lambda self: self.ballast.exists())
    @rule()
    def give_room(self) -> None:
        self.ballast.unlink()

    def managed(self, ask: Callable[[], object]) -> bool:
        """Whether it went well; nothing but the full disk may hinder it."""
        try:
            patiently(ask)
        except DiskFull:
            assert self.ballast.exists()
            return False
        return True

    @rule(which=PICKS, place=PICKS)
    def flip_a_byte(self, which: int, place: int) -> None:
        """§ 4.1; without open files, whose damage § 4.3 leaves to the scrub."""
        self.close_handles()
        files = sorted(p for p in (self.cache / "content").rglob("*.*") if p.stat().st_size)
        if not files:
            return
        file = picked(files, which)
        place %= file.stat().st_size
        with file.open("r+b") as opened:
            byte = os.pread(opened.fileno(), 1, place)
            try:
                os.pwrite(opened.fileno(), bytes([byte[0] ^ 0x41]), place)
            except OSError as problem:  # into a hole, which takes room
                assert problem.errno == errno.ENOSPC and self.ballast.exists()
                return
        self.sound = False

    @precondition(lambda self: self.online)
    @rule()
    def repair(self) -> None:
        self.managed(lambda: running.remote(self.point).verify(repair=True))

    # -- means

    def mount(self) -> None:
        self.keeper = patiently(
            lambda: launch.mount(
                f"s3://{self.bucket}", self.point,
                SourceOptions(endpoint_url=self.server.endpoint, region="us-east-1", attempts=2),
                self.cache, Options(keep_free=0, refresh_interval=3600.0, scrub_rate=0),
                launch.MountOptions(),
            )
        )  # fmt: skip

    def unmount(self) -> None:
        self.close_handles()
        unmounting.unmount(self.point)
        os.waitpid(self.keeper, 0)

    def worker(self) -> int:
        return int(running.health(self.point, 30.0)["worker"])

    def close_handles(self) -> None:
        for fd, _, _ in self.handles:
            os.close(fd)
        self.handles = []

    def teardown(self) -> None:
        try:
            self.unmount()
        finally:
            if not self.online:
                self.server.start()
            subprocess.run(["umount", "--lazy", self.directory], check=True)
            self.directory.rmdir()


def patiently(ask: Callable[[], T]) -> T:
    """`ask` answered, once a dead worker's successor is up and the cache is free."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return ask()
        except (CacheBusy, MountError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def picked(things: Sequence[T], which: int) -> T:
    return things[which % len(things)]


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def pread_all(fd: int, count: int, start: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < count and (piece := os.pread(fd, count - len(pieces), start + len(pieces))):
        pieces += piece
    return bytes(pieces)


def test_whatever_happens_no_byte_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = int(os.environ.get("HARDTACK_MACHINE_SEED", random.SystemRandom().randrange(1 << 32)))
    with capsys.disabled():
        print(f"\nHARDTACK_MACHINE_SEED={number}")
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        machine = seed(number)(type("SeededBox", (Box,), {"server": server}))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
                print_blob=True, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
