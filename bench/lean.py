"""What a crash costs, what memory is needed, how fast the command starts."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench import mounts
from bench.bucket import BUCKET, serving
from bench.cold import READERS, names
from bench.figures import Figure, median_of
from bench.ground import MIB, Ground
from bench.readers import seconds, sequential

_IN_FLIGHT = 4 * 8
"""Chunks asked for at once: connections times the chunks of one request."""


def crash(ground: Ground) -> Iterator[Figure]:
    """kill -9 of the worker in mid-download: what is fetched anew, in chunks of 1 MiB."""
    name = "crash.bin"
    original = ground.file(name, ground.warm_size)
    ground.link.shape("1gbit")
    try:
        with serving(ground.data, ground.link) as endpoint:
            excess = [_killed(ground, endpoint, original) for _ in range(ground.rounds)]
    finally:
        ground.link.unshape()
    yield Figure(
        "kill -9 in mid-download", max(excess), _IN_FLIGHT, at_least=False,
        meaning="chunks of 1 MiB that crossed the link again (the worst of all rounds); "
        "the reader's bytes were right",
    )  # fmt: skip


def _killed(ground: Ground, endpoint: str, original: Path) -> float:
    with mounts.mounted(mounts.Hardtack(), endpoint, ground.work) as at:
        worker = mounts.identity(at)["worker"]
        before = ground.link.received()
        half = before + ground.warm_size // 2

        def kill() -> None:
            while ground.link.received() < half:
                time.sleep(0.005)
            os.kill(worker, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        same = _digest(at / original.name) == _digest(original)
        killer.join()
        # what the dead worker had handed out and not recorded is fetched when it is asked for
        cache = ground.work / "hardtack.cache"
        options = ["--endpoint-url", endpoint, "--unsigned", "--cache", str(cache)]
        mounts.run(mounts.hardtack("prefetch", f"s3://{BUCKET}", original.name, *options))
        if not same or mounts.identity(at)["worker"] == worker:
            raise SystemExit("after kill -9 of the worker the reader got wrong bytes")
        return (ground.link.received() - before - ground.warm_size) / MIB


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def busy_memory(ground: Ground) -> Iterator[Figure]:
    """The most that keeper and worker hold while eight readers read eight cold objects."""
    parts = names(ground, READERS)
    peak = 0.0
    with serving(ground.data) as endpoint:
        with mounts.mounted(mounts.Hardtack(), endpoint, ground.work) as at:
            done = threading.Event()

            def watch() -> None:
                nonlocal peak
                while not done.wait(0.05):
                    peak = max(peak, mounts.memory(at))

            watcher = threading.Thread(target=watch)
            watcher.start()
            seconds(sequential, *(at / part for part in parts))
            done.set()
            watcher.join()
    yield Figure(
        f"memory, {READERS} cold readers", peak, 128, at_least=False,
        meaning="MiB (PSS) of keeper and worker at most, at full speed",
    )  # fmt: skip


def start(ground: Ground) -> Iterator[Figure]:
    """`hardtack version`."""

    def version() -> float:
        begin = time.monotonic()
        subprocess.run(mounts.hardtack("version"), check=True, stdout=subprocess.DEVNULL)
        return (time.monotonic() - begin) * 1000

    version()
    (span,) = median_of(4 * ground.rounds + 3, version)
    yield Figure("hardtack version", span, 150, at_least=False, meaning="ms")
