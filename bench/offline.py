"""A catalogue of 100,000 objects: mounted with no network, listed, and its memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench import mounts
from bench.bucket import BUCKET
from bench.figures import Figure, median_of
from bench.ground import Ground, many


def figures(ground: Ground) -> Iterator[Figure]:
    """Time to the first listing, the listings, memory when idle.

    The source is a directory (servers for tests list so many keys in minutes); it is moved away.
    """
    data = many(ground)
    source = data / BUCKET
    who = mounts.Hardtack(url=f"file://{source}")
    with mounts.mounted(who, "", ground.work):
        pass
    _prefetch(who, ground.work / f"{who.name}.cache", ground.objects // 20)
    gone = source.rename(data / "gone")
    yield from _offline(ground, who, gone / "many")
    gone.rename(source)


def _offline(ground: Ground, who: mounts.Hardtack, ext4: Path) -> Iterator[Figure]:
    (ready,) = median_of(ground.rounds, lambda: _ready(ground, who))
    yield Figure(
        "ready with no network", ready, 1.0, at_least=False,
        meaning=f"seconds from the command to `ls`: {ground.objects} objects known, "
        f"{ground.objects // 20} complete, source gone",
    )  # fmt: skip
    with mounts.mounted(who, "", ground.work, keep=True) as at:
        time.sleep(2)
        idle = mounts.memory(at)
        yield from _listings(ground, at / "many", ext4)
        yield Figure(
            "memory, idle", idle, 45, at_least=False,
            meaning=f"MiB (PSS) of keeper and worker, {ground.objects} objects known",
            values={"after the listings": mounts.memory(at)}, unit="MiB",
        )  # fmt: skip


def _prefetch(who: mounts.Hardtack, cache: Path, count: int) -> None:
    """Make `count` objects complete."""
    assert count % 1000 == 0 or count < 1000
    globs = [f"many/{n:03}*" for n in range(count // 1000)] or ["many/0000*"]
    options = ["--cache", str(cache), "--keep-free", "0"]
    mounts.run(mounts.hardtack("prefetch", who.url, *globs, *options))


def _ready(ground: Ground, who: mounts.Hardtack) -> float:
    begin = time.monotonic()
    with mounts.mounted(who, "", ground.work, keep=True) as at:
        _ls("", at)
        return time.monotonic() - begin


def _listings(ground: Ground, ours: Path, ext4: Path) -> Iterator[Figure]:
    plain, plain_ext4, long, long_ext4 = median_of(
        ground.rounds,
        lambda: _ls("-U", ours),
        lambda: _ls("-U", ext4),
        lambda: _ls("-lU", ours),
        lambda: _ls("-lU", ext4),
    )
    yield Figure(
        "ls -U", plain, 2.0, at_least=False, meaning=f"seconds for {ground.objects} entries",
        values={"hardtack": plain, "local disk": plain_ext4}, unit="s",
    )  # fmt: skip
    yield Figure(
        "ls -lU", long / long_ext4, 2.0, at_least=False,
        meaning=f"time for {ground.objects} entries / the same on the local disk",
        values={"hardtack": long, "local disk": long_ext4}, unit="s",
    )  # fmt: skip


def _ls(flags: str, directory: Path) -> float:
    """Seconds of one `ls`, with the kernel's names forgotten first where that is allowed."""
    if os.geteuid() == 0 and flags:
        Path("/proc/sys/vm/drop_caches").write_text("2")
    begin = time.monotonic()
    command = ["ls", *([flags] if flags else []), str(directory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin
