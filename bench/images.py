"""Images: pulling, sharing, resuming, loading; each against what people use today.

One run, ratios; the registry is on loopback, so that the tools are measured and not a link.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.support import oci
from tests.support.containerd import containerd
from tests.support.registry import RegistryServer, registry

from hardtack.images.lock import lock
from hardtack.images.lockfile import Lock, write_lock
from hardtack.images.platforms import Platform
from hardtack.images.pull import WORK, pull
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference

LAYERS = 8
LAYER = 37 << 20
HERE = Platform.here()
_PULL = """
import sys, time
from pathlib import Path
from hardtack.images.lockfile import read_lock
from hardtack.images.pull import pull
from hardtack.images.registry import Registry
from hardtack.core.progress import Quiet
class Count(Quiet):
    def advance(self, name, count):
        if name == "all images" and len(sys.argv) > 3:
            Count.seen = getattr(Count, "seen", 0) + count
            if not getattr(Count, "told", False) and Count.seen > int(sys.argv[3]):
                Count.told = True
                import os; os.kill(os.getpid(), 9)
lock = read_lock(Path(sys.argv[1]))
start = time.perf_counter()
done = pull(lock, Path(sys.argv[2]), Registry(), progress=Count())
# Not ru_maxrss, which remembers the process that started this one.
status = Path("/proc/self/status").read_text()
memory = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(time.perf_counter() - start, done.fetched, memory)
"""


def main() -> dict[str, Any]:
    """Run, print a line for each figure and the JSON of all; the figures."""
    with tempfile.TemporaryDirectory(prefix="ht-bench-", dir="/tmp") as directory:
        figures = _run(Path(directory))
    for name, value in figures.items():
        print(f"{name:40} {value}")
    print(json.dumps({"images": figures}))
    return figures


def _run(home: Path) -> dict[str, Any]:
    noise = random.Random(0)
    layers = [oci.layer({f"f{n}": noise.randbytes(LAYER)}, level=0) for n in range(LAYERS)]
    size = sum(map(len, layers))
    other = [*layers[1:], oci.layer({"new": noise.randbytes(LAYER)}, level=0)]
    store = home / "registry"
    store.mkdir()
    figures: dict[str, Any] = {"size_mb": round(size / 1e6)}
    with registry(store) as server:
        locks: dict[str, Lock] = {}
        for name, content in (("first", layers), ("second", other)):
            server.push("bench/app", name, oci.image(content, str(HERE)))
            images = {
                Reference.parse(f"{server.host}/bench/app:{t}"): ("bench",) for t in [*locks, name]
            }
            locks[name] = lock(images, [HERE], Registry())
            write_lock(home / f"{name}.lock", locks[name])
        out = home / "out"
        seconds, _, memory = _pull(home / "first.lock", out)
        figures |= {"pull_s": round(seconds, 2), "pull_memory_mib": round(memory)}
        figures |= _others(server, home, seconds)
        again = time.perf_counter()
        pull(locks["first"], out, Registry())
        figures["nothing_to_do_s"] = round(time.perf_counter() - again, 4)
        bundle = next(out.glob("*.tar"))
        figures |= _load(home, bundle)
        _, fetched, _ = _pull(home / "second.lock", out)
        figures["second_image_new_layers"] = round(fetched / len(other[-1]), 3)
        figures |= _resume(home, size)
    return figures


def _pull(lock_file: Path, out: Path, *more: str) -> tuple[float, int, float]:
    """Seconds, bytes fetched and peak MiB of a pull in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PULL, lock_file, out, *more],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, fetched, memory = done.stdout.split()
    return float(seconds), int(fetched), float(memory)


def _others(server: RegistryServer, home: Path, ours: float) -> dict[str, Any]:
    image = f"{server.host}/bench/app:first"
    skopeo = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{image}"]
    seconds = _timed(
        lambda: subprocess.run(
            [*skopeo, f"oci-archive:{home}/skopeo.tar:{image}"], check=True, capture_output=True
        )
    )
    figures: dict[str, Any] = {
        "skopeo_s": round(seconds, 2),
        "times_faster_than_skopeo": round(seconds / ours, 1),
    }
    if (crane := _crane(home)) is not None:
        command = [str(crane), "pull", "--insecure", "--format", "oci", image, str(home / "crane")]
        seconds = _timed(lambda: subprocess.run(command, check=True, capture_output=True))
        figures |= {
            "crane_s": round(seconds, 2),
            "times_faster_than_crane": round(seconds / ours, 1),
        }
    return figures


def _crane(home: Path) -> Path | None:
    """crane, built where Go is on the machine."""
    if found := shutil.which("crane"):
        return Path(found)
    if shutil.which("go") is None:
        return None
    environment = os.environ | {"GOBIN": str(home / "bin")}
    package = "github.com/google/go-containerregistry/cmd/crane@latest"
    done = subprocess.run(
        ["go", "install", package], env=environment, capture_output=True, check=False
    )
    return home / "bin/crane" if done.returncode == 0 else None


def _load(home: Path, bundle: Path) -> dict[str, Any]:
    """`ctr images import` of our bundle and of skopeo's archive in turn, into fresh stores."""
    seconds: dict[str, list[float]] = {"ours": [], "skopeo": []}
    for round_number in range(3):
        for name, archive in (("ours", bundle), ("skopeo", home / "skopeo.tar")):
            box = home / f"{name}{round_number}"
            box.mkdir()
            with containerd(box) as server:
                command = partial(server.ctr, "images", "import", "--no-unpack", str(archive))
                seconds[name].append(_timed(command))
            shutil.rmtree(box, ignore_errors=True)
    ours, theirs = min(seconds["ours"]), min(seconds["skopeo"])
    return {
        "load_s": round(ours, 2),
        "load_skopeo_s": round(theirs, 2),
        "load_ratio": round(ours / theirs, 2),
    }


def _resume(home: Path, size: int) -> dict[str, Any]:
    """A pull that is killed at half, and the one that follows: bytes in all to the size."""
    out = home / "resumed"
    killed = subprocess.run(
        [sys.executable, "-c", _PULL, home / "first.lock", out, str(size // 2)], check=False
    )
    if killed.returncode != -signal.SIGKILL:
        raise AssertionError(f"expected to be killed, ended with {killed.returncode}")
    # What the first run had read and not yet recorded is read again: the second run shows it.
    kept = next((out / WORK).glob("*.journal")).stat().st_size > 0
    _, fetched, _ = _pull(home / "first.lock", out)
    return {"resume_kept": kept, "resume_bytes_ratio": round((size // 2 + fetched) / size, 3)}


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
