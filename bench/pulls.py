"""Pulling an image into a bundle: time, memory, and the bytes that it costs.

The whole command is timed, from its start to its end, as for the peers.
`python -m bench.pulls LOCK OUT BYTES` is a pull that kills itself after so many bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.commands import clean_environment

from bench import machine
from bench.figures import Figure, median_of
from bench.ground import Ground
from bench.store import crane, layer, stored
from hardtack.core.progress import IN_ALL, Quiet
from hardtack.images.lockfile import read_lock
from hardtack.images.pull import WORK, pull
from hardtack.images.registry import Registry

_HARDTACK = str(Path(sys.executable).with_name("hardtack"))
_PEAK = """
import atexit, sys
from hardtack.cli.main import main
def peak():
    # Not ru_maxrss, which remembers the process that started this one.
    with open("/proc/self/status") as status:
        print(status.read().split("VmHWM:")[1].split()[0], file=sys.stderr)
atexit.register(peak)
main(sys.argv[1:])
"""


def against_peers(ground: Ground) -> Iterator[Figure]:
    """A pull of 8 layers from nothing, against skopeo and crane; its memory."""
    with stored(ground) as store:
        lock, out = store.lock("first"), store.home / "out"
        archive, layout = store.home / "skopeo.tar", store.home / "crane"
        skopeo = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false"]
        measures: dict[str, Callable[[], float]] = {
            "hardtack": _fresh(ground, _command(lock, out), out),
            "skopeo": _fresh(
                ground,
                [*skopeo, f"docker://{store.image}", f"oci-archive:{archive}:{store.image}"],
                archive,
            ),
        }
        if (built := crane(store.home)) is not None:
            options = ["pull", "--insecure", "--format", "oci", store.image, str(layout)]
            measures["crane"] = _fresh(ground, [str(built), *options], layout)
        found = median_of(2 * ground.rounds + 1, *measures.values())
        values = dict(zip(measures, found, strict=True))
        size = round(store.size / 1e6)
        yield Figure(
            f"pull {size} MB", values["skopeo"] / values["hardtack"], 5, at_least=True,
            meaning="time of `skopeo copy` to an OCI archive / of `images pull`",
            values=values, unit="s", ahead_of=["crane"], lower_is_better=True,
        )  # fmt: skip
        shutil.rmtree(out)
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, *_command(lock, out)[1:]],
            env=clean_environment(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        yield Figure(
            f"memory, pull {size} MB", int(done.stderr.split()[-1]) / 1024, 120, at_least=False,
            meaning="MiB of the process at most",
        )  # fmt: skip


def nothing_to_do(ground: Ground) -> Iterator[Figure]:
    """A second pull of the same lock, its registry stopped."""
    with stored(ground) as store:
        lock, out = store.lock("first"), store.home / "out"
        _pulled(lock, out)
    (seconds,) = median_of(2 * ground.rounds + 1, lambda: _timed(_command(lock, out)))
    yield Figure(
        "nothing to pull", seconds, 1, at_least=False, meaning="s, the registry being stopped"
    )


def shared_layers(ground: Ground) -> Iterator[Figure]:
    """A second image that shares 7 of its 8 layers."""
    with stored(ground) as store:
        out = store.home / "out"
        _pulled(store.lock("first"), out)
        new = layer(ground, len(store.layers))
        store.push("second", [*store.layers[1:], new])
        fetched = _pulled(store.lock("first", "second"), out)["fetched_bytes"]
        yield Figure(
            "second image, 7 of 8 layers shared", fetched / (len(new) + 4096), 1, at_least=False,
            meaning="bytes of blobs fetched / the new layer (and 4 KiB for its configuration)",
        )  # fmt: skip


def resumed(ground: Ground) -> Iterator[Figure]:
    """A pull killed at half, and the one that follows: bytes in all."""
    with stored(ground) as store:
        lock, out, half = store.lock("first"), store.home / "out", store.size // 2
        killed = subprocess.run(
            [sys.executable, "-m", "bench.pulls", str(lock), str(out), str(half)], check=False
        )
        if killed.returncode != -signal.SIGKILL:
            raise SystemExit(f"expected a killed pull; it ended with {killed.returncode}")
        if not any(journal.stat().st_size for journal in (out / WORK).glob("*.journal")):
            raise SystemExit("the killed pull has recorded nothing")
        again = _pulled(lock, out)["fetched_bytes"]
        yield Figure(
            "kill -9 at half of a pull", (half + again) / store.size, 1.02, at_least=False,
            meaning="bytes fetched in both pulls / size of the image",
        )  # fmt: skip


def _command(lock: Path, out: Path) -> list[str]:
    return [_HARDTACK, "images", "pull", "--lock", str(lock), "--out", str(out)]


def _pulled(lock: Path, out: Path) -> Any:
    done = subprocess.run(
        [*_command(lock, out), "--json"], env=clean_environment(), check=True, capture_output=True
    )
    return json.loads(done.stdout)


def _fresh(ground: Ground, command: Sequence[str], made: Path) -> Callable[[], float]:
    """Seconds of a run that finds nothing of `made`, and memory that is there."""

    def measure() -> float:
        shutil.rmtree(made) if made.is_dir() else made.unlink(missing_ok=True)
        machine.warm_memory(4 * ground.warm_size, ground.work)
        return _timed(command)

    return measure


def _timed(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=clean_environment(), check=True, capture_output=True)
    return time.perf_counter() - start


class _Deadly(Quiet):
    def __init__(self, limit: int) -> None:
        self._left = limit

    def advance(self, name: str, count: int) -> None:
        if name == IN_ALL:
            self._left -= count
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    pull(read_lock(Path(sys.argv[1])), Path(sys.argv[2]), Registry(),
         progress=_Deadly(int(sys.argv[3])))  # fmt: skip
