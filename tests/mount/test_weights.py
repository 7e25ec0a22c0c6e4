"""A mount of a real source through the real cache, online and after the source has gone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from hardtack.cache.api import Options
from hardtack.core.errors import CacheBusy, NotFound
from hardtack.mount import control, launch, mountinfo, running, unmounting
from hardtack.source.options import SourceOptions
from tests.mount.conftest import Mount, children, gone
from tests.support.commands import HARDTACK, Box, clean_environment, forget_caches
from tests.support.ports import free_port
from tests.support.s3 import S3Server
from tests.support.waiting import until

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
            launch.MountOptions(**options),  # type: ignore[arg-type]
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
    unmounting.unmount(weights.point)
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


@pytest.mark.parametrize("lost", ["the cache", "the catalogue"])
def test_a_new_catalogue_under_open_files(weights: Weights, lost: str) -> None:
    """§ 2.1, § 2.2: what was open never reads the bytes of another object, nor does a name."""
    weights.start()
    old, worker = weights.point / "models" / "a.onnx", weights.worker
    with old.open("rb", buffering=0) as file:
        assert os.pread(file.fileno(), 1, 0) == DATA[:1]
        (weights.bucket / "models" / "0.onnx").write_bytes(DATA[::-1])  # listed before the others
        if lost == "the cache":
            shutil.rmtree(weights.cache)
        else:
            (catalogue,) = weights.cache.glob("catalogue-*.db")
            for each in weights.cache.glob(f"{catalogue.name}*"):
                each.write_bytes(b"no database".ljust(8192))
        os.kill(worker, signal.SIGKILL)
        until((weights.point / "models" / "0.onnx").exists)
        forget_caches()
        with contextlib.suppress(OSError):  # ESTALE: nobody knows it any more
            assert os.pread(file.fileno(), len(DATA), 0) == DATA
        assert old.read_bytes() == DATA
        assert (weights.point / "models" / "0.onnx").read_bytes() == DATA[::-1]


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
    remote = running.remote(weights.point)
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


def test_the_state_read_in_pieces_is_of_one_moment(weights: Weights) -> None:
    weights.start()
    with (weights.point / ".hardtack").open("rb", buffering=0) as probe:
        begun = probe.read(40)
        assert (weights.point / "models/a.onnx").read_bytes() == DATA  # its counters grow by digits
        document = json.loads(begun + probe.read())
    assert document["status"]["bytes_read_total"] == 0
    assert json.loads((weights.point / ".hardtack").read_bytes())["status"]["bytes_read_total"] > 0


def test_a_source_that_is_not_there(weights: Weights) -> None:
    shutil.rmtree(weights.bucket)
    with pytest.raises(NotFound):
        weights.start()
    assert mountinfo.mounted_at(str(weights.point)) == []


def test_metrics_are_the_status(weights: Weights) -> None:
    address = f"127.0.0.1:{free_port()}"
    weights.start(metrics_address=address)
    (weights.point / "models" / "b.onnx").read_bytes()

    def metrics() -> dict[str, float]:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        pairs = (line.split(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    until(lambda: metrics().get("hardtack_complete_objects") == 1)
    seen = metrics()
    assert seen["hardtack_objects"] == 2
    assert seen["hardtack_objects_bytes"] == len(DATA) + 5
    assert seen["hardtack_present_bytes"] == seen["hardtack_fetched_bytes_total"] == 5
    assert seen["hardtack_source_reachable"] == 1


def test_keepers_killed_alone_and_with_their_workers(weights: Weights) -> None:
    """§ 8.3. At random moments of downloads: never wrong bytes, and what was complete is kept."""
    choose, complete = random.Random(5), set()
    data = {f"{n}.onnx": random.Random(n).randbytes(3_000_001) for n in range(10)}
    shutil.rmtree(weights.bucket / "models")
    for name, content in data.items():
        (weights.bucket / name).write_bytes(content)

    def read_all(stop: threading.Event) -> None:
        for name, content in data.items():
            path = weights.point / name
            try:
                assert path.read_bytes() == content
                if os.getxattr(path, "user.hardtack.state") == b"complete":
                    complete.add(name)
            except OSError:
                assert stop.wait(30)  # only because it was killed
                return

    for number in range(20):
        weights.start(handover=10.0)  # a keeper may start another worker between two kills
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_all, stop)
            time.sleep(choose.random() * 0.15)
            both = [weights.keeper, *children(weights.keeper)]
            choose.shuffle(both)
            for pid in both if number % 2 else [weights.keeper]:
                os.kill(pid, signal.SIGKILL)
            stop.set()
            reading.result(30)
        os.waitpid(weights.keeper, 0)
        for pid in both:
            until(partial(gone, pid))
    assert complete
    shutil.rmtree(weights.bucket)
    weights.start(handover=10.0)
    assert all((weights.point / name).read_bytes() == data[name] for name in complete)


def test_waits_for_a_source_and_leaves_without_it(tmp_path: Path) -> None:
    """`--wait` mounts when the source comes up; unmounting doesn't need it."""
    server = S3Server(tmp_path / "s3")
    for name in "abc":
        server.put("weights", name, DATA)
    box = Box(tmp_path, server)
    command = [*HARDTACK, "mount", "--wait", "s3://weights", str(box.point)]
    environment = clean_environment(box.env)
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as mounting:
        try:
            until((box.cache / "owner.lock").exists)
            assert mounting.poll() is None
            assert mountinfo.mounted_at(str(box.point)) == []
            server.start()
            assert mounting.wait(60) == 0
            assert (box.point / "a").read_bytes() == DATA
            prefetch = [*HARDTACK, "prefetch", str(box.point)]
            with subprocess.Popen(
                prefetch,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as prefetching:
                server.stop()
                box.ok("unmount", box.point)
                prefetching.kill()
        finally:
            mounting.kill()
            server.stop()
            if mountinfo.mounted_at(str(box.point)):
                box.run("unmount", "--lazy", box.point)
    assert mountinfo.mounted_at(str(box.point)) == []
