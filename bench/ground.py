"""What the benches of weights stand on: directories, a link, sizes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.bucket import BUCKET, make_file, make_many
from bench.link import Link, link

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Ground:
    """`data` is the server's, `work` holds caches and mountpoints; sizes in bytes."""

    data: Path
    work: Path
    link: Link
    warm_size: int
    cold_size: int
    objects: int
    rounds: int

    def file(self, name: str, size: int) -> Path:
        """The object `name` in the bucket, made when it is first asked for."""
        path = self.data / BUCKET / name
        if not path.exists() or path.stat().st_size != size:
            make_file(path, size)
        return path


def many(ground: Ground) -> Path:
    """The data directory of a bucket that holds `ground.objects` small objects in `many/`."""
    data = ground.data.with_name("data-many")
    if not data.exists():
        make_many(data / BUCKET / "many", ground.objects)
    return data


@contextmanager
def ground(*, quick: bool) -> Iterator[Ground]:
    """A fresh ground on the file system of the temporary directory; removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="hardtack-bench-"))
    try:
        (root / "work").mkdir()
        with link() as made:
            yield Ground(
                data=root / "data",
                work=root / "work",
                link=made,
                warm_size=(64 if quick else 256) * MIB,
                cold_size=(128 if quick else 1024) * MIB,
                objects=5_000 if quick else 100_000,
                rounds=1 if quick else 3,
            )
    finally:
        shutil.rmtree(root)
