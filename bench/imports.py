"""Loading a bundle into containerd, against an archive of skopeo's."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.containerd import containerd

from bench import machine
from bench.figures import Figure, rounds_of
from bench.ground import Ground
from bench.store import Store, stored
from hardtack.images.lockfile import read_lock
from hardtack.images.pull import pull
from hardtack.images.registry import Registry


def load(ground: Ground) -> Iterator[Figure]:
    """`ctr images import` of both in turn, each into a fresh store; skopeo's twice, which tells
    how far one and the same archive differs from itself: so far the bar is above 1."""
    with stored(ground) as store:
        client = Registry()
        bundle = pull(read_lock(store.lock("first")), store.home / "out", client).bundles[0].path
        client.close()
        archive = _archive(store)
        _seconds(ground, archive)  # containerd's own files come into memory
        rounds = rounds_of(
            2 * ground.rounds + 1,
            lambda: _seconds(ground, archive),
            lambda: _seconds(ground, bundle),
            lambda: _seconds(ground, archive),
        )
    noise = statistics.median(abs(again / first - 1) for first, _, again in rounds)
    yield Figure(
        "ctr images import",
        statistics.median(2 * ours / (first + again) for first, ours, again in rounds),
        1 + noise, at_least=False,
        meaning="time to load our bundle / skopeo's archive; the bar: one archive loaded twice",
        values={
            "hardtack": statistics.median(ours for _, ours, _ in rounds),
            "skopeo": statistics.median((first + again) / 2 for first, _, again in rounds),
        },
        unit="s",
    )  # fmt: skip


def _archive(store: Store) -> Path:
    archive = store.home / "skopeo.tar"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
         f"docker://{store.image}", f"oci-archive:{archive}:{store.image}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return archive


def _seconds(ground: Ground, archive: Path) -> float:
    box = ground.work / "box"
    box.mkdir()
    try:
        with containerd(box) as server:
            machine.warm_memory(4 * ground.warm_size, ground.work)
            start = time.perf_counter()
            server.ctr("images", "import", "--no-unpack", str(archive))
            return time.perf_counter() - start
    finally:
        shutil.rmtree(box)
