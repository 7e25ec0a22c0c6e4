"""How soon nine detectors are ready: over a slow link, and with no network after a reboot."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.support.endpoints import write_models

from bench import mounts
from bench.bucket import BUCKET, serving
from bench.edge import edge
from bench.figures import Figure
from bench.ground import MIB, Ground
from hardtack.demo.detectors import SAMPLES
from hardtack.inference.package import FILE

_RATE = 10_000_000
_MORE = 32 * MIB
"""What each detector's package holds beside its small network: detectors in use weigh as much."""
_MEMORY = 1536.0


def cold(ground: Ground) -> Iterator[Figure]:
    """From an empty cache over a link of 10 MB/s, against the time that the bytes alone take."""
    usual = _MORE // 8 if ground.rounds == 1 else _MORE
    for name, more in (("with weights of usual size", usual), ("the samples alone", 0)):
        size = _bucket(ground, more)
        ground.link.shape(f"{_RATE * 8}bit")
        try:
            with serving(ground.data, ground.link) as endpoint:
                with mounts.mounted(mounts.Hardtack(), endpoint, ground.work) as at:
                    came = ground.link.received()
                    with edge(ground.work, at / "models") as running:
                        took = running.wait_ready()
                    came = ground.link.received() - came
        finally:
            ground.link.unshape()
        yield Figure(
            f"cold to nine ready, {name}", took / (size / _RATE), 1.1, at_least=False,
            meaning=f"time over a link of 10 MB/s / the time of {size / 1e6:.0f} MB of weights at "
            "that rate",
            values={"hardtack": took, "the bytes": size / _RATE, "on the wire": came / _RATE},
            unit="s",
        )  # fmt: skip


def warm(ground: Ground) -> Iterator[Figure]:
    """All weights on the box, the source gone, the kernel's caches forgotten."""
    _bucket(ground, 0)
    with serving(ground.data) as endpoint:
        with mounts.mounted(mounts.Hardtack(), endpoint, ground.work) as at:
            mounts.run(mounts.hardtack("prefetch", str(at)))
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    with mounts.mounted(mounts.Hardtack(), endpoint, ground.work, keep=True) as at:
        with edge(ground.work, at / "models") as running:
            took = running.wait_ready()
            memory = running.memory()
            memory["mount"] = mounts.memory(at)
    yield Figure(
        "warm to nine ready, no network", took, 10.0, at_least=False,
        meaning="seconds from the endpoint's start until all nine answer, source gone, caches "
        "dropped",
    )  # fmt: skip
    yield Figure(
        "memory, nine detectors", sum(memory.values()), _MEMORY, at_least=False,
        meaning="MiB (PSS) of endpoint, nine servers and mount",
        values=memory, unit="MiB",
    )  # fmt: skip


def _bucket(ground: Ground, more: int) -> int:
    """The nine packages in the bucket, each with `more` bytes of further weights; the bytes of
    all objects that differ (equal ones cross the link once)."""
    bucket = ground.data / BUCKET
    shutil.rmtree(bucket, ignore_errors=True)
    models = write_models(bucket)
    for sample in SAMPLES if more else ():
        package = models / sample.id / "primary" / "1"
        body = os.urandom(more)
        (package / "more.bin").write_bytes(body)
        digest = hashlib.sha256(body).hexdigest()
        with (package / FILE).open("a") as toml:
            toml.write(_weights("more.bin", more, digest))
    different = {path.read_bytes() for path in models.rglob("*") if path.is_file()}
    return sum(map(len, different))


def _weights(file: str, size: int, sha256: str) -> str:
    entry = {"file": file, "size": size, "sha256": sha256}
    return "\n[[weights]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in entry.items())
