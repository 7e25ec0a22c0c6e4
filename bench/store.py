"""A registry on loopback with the image that the benches of images pull."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import oci
from tests.support.registry import RegistryServer, registry

from bench.ground import Ground
from hardtack.images.lock import lock
from hardtack.images.lockfile import write_lock
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry
from hardtack.manifests.reference import Reference

LAYERS = 8
HERE = Platform.here()


@dataclass(frozen=True, slots=True)
class Store:
    """The registry, and the layers of the image `bench/app:first` in it."""

    server: RegistryServer
    layers: Sequence[bytes]
    home: Path

    @property
    def size(self) -> int:
        return sum(map(len, self.layers))

    @property
    def image(self) -> str:
        return f"{self.server.host}/bench/app:first"

    def push(self, tag: str, layers: Sequence[bytes]) -> None:
        self.server.push("bench/app", tag, oci.image(list(layers), str(HERE)))

    def lock(self, *tags: str) -> Path:
        """A lock of these tags."""
        file = self.home / f"{'-'.join(tags)}.lock"
        images = {
            Reference.parse(f"{self.server.host}/bench/app:{tag}"): ("bench",) for tag in tags
        }
        client = Registry()
        write_lock(file, lock(images, [HERE], client))
        client.close()
        return file


@contextmanager
def stored(ground: Ground) -> Iterator[Store]:
    """A registry with an image of 8 layers (37 MiB each at full size) that don't compress."""
    home = ground.work / "images"
    shutil.rmtree(home, ignore_errors=True)
    (home / "registry").mkdir(parents=True)
    layers = [layer(ground, number) for number in range(LAYERS)]
    with registry(home / "registry") as server:
        store = Store(server, layers, home)
        store.push("first", layers)
        yield store


def layer(ground: Ground, number: int) -> bytes:
    """Layer `number`: the same bytes each time."""
    size = ground.warm_size * 37 // 256
    return oci.layer({f"f{number}": random.Random(number).randbytes(size)}, level=0)


def crane(home: Path) -> Path | None:
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
