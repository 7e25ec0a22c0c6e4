"""Warm reads: a complete object through the mount, against the same bytes on the local disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import mounts
from bench.bucket import serving
from bench.figures import Figure, median_of
from bench.ground import MIB, Ground
from bench.readers import mapped, scattered, seconds, sequential

_BARS = {"": 0.9, "passthrough": 0.5}


def figures(ground: Ground) -> Iterator[Figure]:
    """Sequential, mapped and random, with passthrough and without, and the peers."""
    name = "warm.bin"
    original = ground.file(name, ground.warm_size)
    local, pieces = ground.work / "local.bin", ground.work / "local-pieces.bin"
    _copy(original, local)
    shutil.copyfile(original, pieces)
    everyone: list[mounts.Mounter] = [
        mounts.Hardtack(),
        mounts.Hardtack("hardtack, no passthrough", "passthrough"),
        *mounts.peers(),
    ]
    with ExitStack() as stack:
        endpoint = stack.enter_context(serving(ground.data))
        paths = {"local disk": local, "local disk, small folios": pieces}
        for who in everyone:
            path = stack.enter_context(mounts.mounted(who, endpoint, ground.work)) / name
            seconds(sequential, path)
            who.settle(path)
            seconds(sequential, path)
            paths[who.name] = path
        for way in (sequential, mapped, scattered):
            yield from _of(ground, way, paths)
    local.unlink()
    pieces.unlink()


def _copy(original: Path, to: Path) -> None:
    """Copy by whole MiB, as the cache writes, which makes large folios in the page cache.

    Kernels without passthrough (before 6.9) know none on ext4 (6.16), so what they must be near is
    a file of small ones: that is what `shutil` makes, by pieces of 64 KiB.
    """
    with original.open("rb") as source, to.open("wb", buffering=0) as target:
        while block := source.read(MIB):
            target.write(block)


def _of(ground: Ground, way: Callable[[str], None], paths: dict[str, Path]) -> Iterator[Figure]:
    def measure(path: Path) -> Callable[[], float]:
        return lambda: seconds(way, path)

    times = median_of(5 * ground.rounds, *(measure(path) for path in paths.values()))
    unit, work = ("reads/s", 20_000.0) if way is scattered else ("MB/s", ground.warm_size / 1e6)
    rates = {who: work / time for who, time in zip(paths, times, strict=True)}
    for without, bar in _BARS.items():
        us = "hardtack, no passthrough" if without else "hardtack"
        limit = "local disk, small folios" if without else "local disk"
        peers = {k: v for k, v in rates.items() if not k.startswith(("hardtack", "local"))}
        yield Figure(
            name=f"warm {way.__name__}" + (", no passthrough" if without else ""),
            ratio=rates[us] / rates[limit],
            bar=bar,
            at_least=True,
            meaning=f"rate of a complete object of {ground.warm_size // MIB} MiB / local file",
            values={"hardtack": rates[us], limit: rates[limit], **peers},
            unit=unit,
            ahead_of=("rclone", "s3fs"),
        )
