"""First reads: alone, by eight at once, over a link of 1 Gbit/s, and of 1 % of a big file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from bench import client, mounts
from bench.bucket import BUCKET, serving
from bench.figures import Figure, median_of
from bench.ground import MIB, Ground
from bench.machine import warm_memory
from bench.readers import SLICE, hundredth, hundredth_mapped, places, seconds, sequential

CHUNK = MIB
READERS = 8
_NAME = "cold.bin"


def _cold(ground: Ground, who: mounts.Mounter, endpoint: str, readers: int = 1) -> float:
    """Seconds of a first read over an empty cache by so many readers."""
    with mounts.mounted(who, endpoint, ground.work) as at:
        warm_memory(2 * ground.cold_size, ground.work)
        return seconds(sequential, *[at / _NAME] * readers)


def throughput(ground: Ground) -> Iterator[Figure]:
    """First read of one object on loopback, against the client library and the peers."""
    ground.file(_NAME, ground.cold_size)
    everyone: list[mounts.Mounter] = [mounts.Hardtack(), *mounts.peers()]
    with serving(ground.data) as endpoint:
        yield _against_client(ground, endpoint, everyone, "loopback", 0.5)


def shaped(ground: Ground) -> Iterator[Figure]:
    """The same over a link of 1 Gbit/s, and by eight readers there."""
    ground.file(_NAME, ground.cold_size)
    ground.link.shape("1gbit")
    try:
        with serving(ground.data, ground.link) as endpoint:
            alone = _against_client(ground, endpoint, [mounts.Hardtack()], "1 Gbit/s", 0.97)
            yield alone
            (span,) = median_of(1, lambda: _cold(ground, mounts.Hardtack(), endpoint, READERS))
            yield Figure(
                f"{READERS} cold readers: time, 1 Gbit/s",
                span * alone.values["hardtack"] * 1e6 / ground.cold_size, 1.2, at_least=False,
                meaning="time of eight readers at once / of one",
            )  # fmt: skip
    finally:
        ground.link.unshape()


def _against_client(
    ground: Ground, endpoint: str, everyone: list[mounts.Mounter], where: str, bar: float
) -> Figure:
    def measure(who: mounts.Mounter) -> Callable[[], float]:
        return lambda: _cold(ground, who, endpoint)

    def alone() -> float:
        warm_memory(2 * ground.cold_size, ground.work)
        return client.seconds(endpoint, BUCKET, _NAME, ground.work / "client.bin")

    names = [who.name for who in everyone] + ["client library"]
    times = median_of(
        ground.rounds,
        *(measure(who) for who in everyone),
        alone,
    )
    rates = {n: ground.cold_size / 1e6 / t for n, t in zip(names, times, strict=True)}
    return Figure(
        name=f"cold, {where}",
        ratio=rates["hardtack"] / rates["client library"],
        bar=bar,
        at_least=True,
        meaning=f"rate of a first read of {ground.cold_size // MIB} MiB / download into a file",
        values=rates,
        unit="MB/s",
        ahead_of=("rclone", "s3fs"),
    )


def together(ground: Ground) -> Iterator[Figure]:
    """Eight readers of one cold object: time against one reader's, bytes on the link.

    The peers, which have no bar here, get one round.
    """
    ground.file(_NAME, ground.cold_size)
    spans: dict[str, float] = {}
    shares: dict[str, float] = {}
    everyone: list[mounts.Mounter] = [mounts.Hardtack(), *mounts.peers()]
    with serving(ground.data, ground.link) as endpoint:
        for who in everyone:
            ratios, bytes_ = [], []
            for _ in range(ground.rounds if who is everyone[0] else 1):
                alone = _cold(ground, who, endpoint)
                before = ground.link.received()
                ratios.append(_cold(ground, who, endpoint, READERS) / alone)
                bytes_.append((ground.link.received() - before) / ground.cold_size)
            spans[who.name] = sorted(ratios)[len(ratios) // 2]
            shares[who.name] = sorted(bytes_)[len(bytes_) // 2]
    yield Figure(
        f"{READERS} cold readers: bytes", shares["hardtack"], 1.01, at_least=False,
        meaning="bytes on the link, headers included / size of the object", values=shares,
    )  # fmt: skip
    yield Figure(
        f"{READERS} cold readers: time", spans["hardtack"], 1.2, at_least=False,
        meaning="time of eight readers at once / of one", values=spans,
    )  # fmt: skip


def sparse(ground: Ground) -> Iterator[Figure]:
    """1 % of a big file at random: bytes fetched against the chunks touched."""
    ground.file(_NAME, ground.cold_size)
    count = max(1, ground.cold_size // 100 // SLICE)
    needed = len({p // CHUNK for p in places(ground.cold_size, count, SLICE)}) * CHUNK
    with serving(ground.data, ground.link) as endpoint:
        for way in (hundredth, hundredth_mapped):
            shares = {}
            everyone: list[mounts.Mounter] = [mounts.Hardtack(), *mounts.peers()]
            for who in everyone if way is hundredth else everyone[:1]:
                shares[who.name] = _fetched(ground, who, endpoint, way) / needed
            yield Figure(
                "1 % at random" + (", mapped" if way is hundredth_mapped else ""),
                shares["hardtack"], 1.5, at_least=False,
                meaning=f"bytes on the link / the {needed // MIB} chunks of 1 MiB touched",
                values=shares,
            )  # fmt: skip


def _fetched(ground: Ground, who: mounts.Mounter, endpoint: str, way: Callable[[str], None]) -> int:
    with mounts.mounted(who, endpoint, ground.work) as at:
        before = ground.link.received()
        seconds(way, at / _NAME)
        return ground.link.received() - before


def names(ground: Ground, count: int) -> list[str]:
    """`count` objects that together have the size of the cold one."""
    size = ground.cold_size // count // MIB * MIB
    found: list[Path] = [ground.file(f"part-{n}.bin", size) for n in range(count)]
    return [path.name for path in found]
