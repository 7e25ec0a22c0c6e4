"""A mount of a real source through the real cache, online and after the source has gone."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardtack.cache.api import Options
from hardtack.core.errors import CacheBusy, NotFound
from hardtack.mount import control, launch, mountinfo
from hardtack.source.options import SourceOptions
from tests.mount.conftest import Mount, until

pytestmark = pytest.mark.needs("root", "fuse")

DATA = random.Random(4).randbytes(5_000_001)


class Weights(Mount):
    """A mount of `bucket`, a directory, through the real cache."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.bucket = directory / "bucket"
        self.bucket.mkdir()

    def start(self, **options: object) -> Weights:
        cache_options = Options(keep_free=0, refresh_interval=0.3)
        self.keeper = launch.mount(
            f"file://{self.bucket}",
            self.point,
            SourceOptions(),
            self.cache,
            cache_options,
            launch.MountOptions(),
        )
        return self


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[Weights]:
    made = Weights(tmp_path)
    shutil.rmtree(made.tree)
    (made.bucket / "models").mkdir()
    (made.bucket / "models" / "a.onnx").write_bytes(DATA)
    (made.bucket / "models" / "b.onnx").write_bytes(b"small")
    yield made
    made.end()


def test_read_once_kept_for_good(weights: Weights) -> None:
    weights.start()
    path = weights.point / "models" / "a.onnx"
    assert path.read_bytes() == DATA
    until(lambda: os.getxattr(path, "user.hardtack.state") == b"complete")
    launch.unmount(weights.point)
    os.waitpid(weights.keeper, 0)
    shutil.rmtree(weights.bucket)
    weights.start()
    assert path.read_bytes() == DATA
    assert sorted(os.listdir(weights.point / "models")) == ["a.onnx", "b.onnx"]
    with pytest.raises(OSError):
        (weights.point / "models" / "b.onnx").read_bytes()


def test_killed_in_mid_download(weights: Weights) -> None:
    weights.start()
    with (weights.point / "models" / "a.onnx").open("rb", buffering=0) as file:
        start = file.read(100_000)
        os.kill(weights.worker, signal.SIGKILL)
        assert start + file.read() == DATA


def test_a_new_generation_reaches_the_mount(weights: Weights) -> None:
    weights.start()
    point = weights.point / "models"
    assert not (point / "c.onnx").exists()
    with (point / "b.onnx").open("rb") as before:
        assert before.read() == b"small"
        (weights.bucket / "models" / "c.onnx").write_bytes(b"new")
        (weights.bucket / "models" / "b.onnx").write_bytes(b"other")
        until((point / "c.onnx").exists)
        assert (point / "c.onnx").read_bytes() == b"new"
        until(lambda: (point / "b.onnx").read_bytes() == b"other")
        before.seek(0)
        assert before.read() == b"small"


def test_commands_ask_the_owner(weights: Weights) -> None:
    weights.start()
    remote = launch.remote(weights.point)
    done = remote.prefetch([])
    assert (done.files, done.bytes, done.failed) == (2, len(DATA) + 5, ())
    status = remote.status()
    assert (status.objects, status.complete) == (2, 2)
    assert remote.pin("v1").files == 2
    assert [release.name for release in remote.releases()] == ["v1"]
    assert control.connect(weights.cache) is not None
    point, weights.point = weights.point, weights.point.parent / "other"
    weights.point.mkdir()
    with pytest.raises(CacheBusy) as caught:
        weights.start()
    weights.point = point
    assert "mount" in caught.value.message


def test_a_source_that_is_not_there(weights: Weights) -> None:
    shutil.rmtree(weights.bucket)
    with pytest.raises(NotFound):
        weights.start()
    assert mountinfo.mounted_at(str(weights.point)) == []
