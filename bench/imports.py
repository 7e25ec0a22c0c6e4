"""Loading a bundle into containerd, against an archive of skopeo's."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.containerd import containerd

from bench import machine
from bench.figures import Figure, median_of
from bench.ground import Ground
from bench.store import Store, stored
from hardtack.images.lockfile import read_lock
from hardtack.images.pull import pull
from hardtack.images.registry import Registry


def load(ground: Ground) -> Iterator[Figure]:
    """`ctr images import` of both in turn, each into a fresh store."""
    with stored(ground) as store:
        client = Registry()
        bundle = pull(read_lock(store.lock("first")), store.home / "out", client).bundles[0].path
        client.close()
        archive = _archive(store)
        ours, theirs = median_of(
            2 * ground.rounds + 1,
            lambda: _seconds(ground, bundle),
            lambda: _seconds(ground, archive),
        )
    yield Figure(
        "ctr images import", ours / theirs, 1.0, at_least=False,
        meaning="time to load our bundle / skopeo's archive",
        values={"hardtack": ours, "skopeo": theirs}, unit="s",
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
