"""`ready --fetch`: from nothing to READY, from what is half there, and as far as it can be had."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hardtack.core.errors import DiskFull
from hardtack.core.progress import Quiet
from hardtack.deploy.ready.certificates import Tls
from hardtack.deploy.ready.check import Box, Images, Weights
from hardtack.deploy.ready.detectors import Files
from hardtack.deploy.ready.fetch import fetch
from hardtack.deploy.ready.images import locked
from hardtack.images.audit import Row, State
from hardtack.images.lockfile import names, read_lock
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry
from tests.support.commands import clean_environment
from tests.support.containerd import containerd
from tests.support.ready import ReadyBox, open_cache, ready_box, ship
from tests.support.registry import RegistryServer, registry

pytestmark = pytest.mark.needs("registry")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def box(tmp_path: Path, server: RegistryServer, tmp_path_factory: pytest.TempPathFactory
        ) -> ReadyBox:  # fmt: skip
    return ready_box(tmp_path, ship(tmp_path_factory.mktemp("factory"), server))


def test_from_nothing_to_ready(box: ReadyBox) -> None:
    shutil.rmtree(box.directory / "cache")
    shutil.rmtree(box.images)
    assert {row["check"] for row in box.amiss()} == {"images.here", "weights.listed"}
    done = box.ready("--fetch")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "READY"
    assert box.amiss() == []
    assert not (box.images.parent / ".hardtack-fetch").exists()
    with open_cache(box) as cache:
        (release,) = cache.releases()
        assert release.name.startswith("ready-")


def test_what_is_damaged_comes_anew(box: ReadyBox) -> None:
    bundle = next(box.images.glob("images-*.tar"))
    largest = max((box.directory / "cache/content").glob("??/*.data"),
                  key=lambda file: file.stat().st_size)  # fmt: skip
    for file in (bundle, largest):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert {row["check"] for row in box.amiss()} == {"images.here", "weights.verified"}
    assert box.amiss("--fetch") == []


def test_nothing_is_asked_for_when_all_is_there(box: ReadyBox) -> None:
    """The registry's address leads nowhere, and nobody notices."""
    for file in (box.directory / "images.lock", box.manifests / "pod.yaml"):
        assert "localhost:" in file.read_text()
    assert box.amiss("--fetch", "--registry-ca", box.directory / "images.lock") == []


def test_one_part_that_cant_be_had_leaves_the_other(box: ReadyBox) -> None:
    """The time it takes is told at the rate that is given."""
    with open_cache(box) as cache:
        cache.unpin("june")
        cache.evict(["*/model.onnx"])
    shutil.rmtree(box.images)
    lock = box.directory / "images.lock"
    lock.write_text(lock.read_text().replace("app/camera", "app/gone"))
    done = box.ready("--fetch", "--json", "--rate", "1kB")
    assert done.returncode == 1
    assert "app/gone" in done.stderr
    rows = [r for r in json.loads(done.stdout)["rows"] if r["check"] == "images.here"]
    assert len(rows) == 2
    for row in rows:
        assert row["seconds"] == pytest.approx(row["missing"] / 1000)
        assert row["remedy"].startswith("It couldn't be fetched: ")
        assert "app/gone" in row["remedy"]
        assert "--fetch" not in row["remedy"]
    assert {r["check"] for r in box.amiss()} == {"images.here", "images.locked"}


def _where_read_only(box: ReadyBox, place: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """`ready --fetch` as it ends where `place` takes no writes."""
    read_only = 'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; exec "$@"'
    alone = ["unshare", "--mount", "sh", "-ec", read_only, str(place)]
    return subprocess.run(
        [*alone, *box.command("--fetch", "--json", *more)], env=clean_environment(box.env),
        cwd=box.directory, capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip


@pytest.mark.needs("root")
def test_a_disk_that_takes_no_writes_leaves_the_other_part(box: ReadyBox) -> None:
    """The bundles' directory is read-only: that is told, and the weights come."""
    with open_cache(box) as cache:
        cache.unpin("june")
        cache.evict(["*/model.onnx"])
    bundle = next(box.images.glob("images-*.tar"))
    damaged = bytearray(bundle.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    bundle.write_bytes(damaged)
    done = _where_read_only(box, box.images)
    assert done.returncode == 1, done.stderr
    rows = [row for row in json.loads(done.stdout)["rows"] if row["state"] != "ready"]
    assert {row["check"] for row in rows} == {"images.here"}
    for said in (done.stderr, *(row["remedy"] for row in rows)):
        assert f"{bundle}: Read-only file system." in said


def test_a_full_disk_is_told_by_its_place(box: ReadyBox) -> None:
    """A write that fails doesn't know what it writes."""

    def full() -> AbstractContextManager[Registry]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    shutil.rmtree(box.images)
    images = Images(box.directory / "images.lock", (box.manifests,), box.images, None,
                    Platform.here())  # fmt: skip
    whole = Box(images, Weights(None), Files(box.directory), Tls(Path("c"), Path("k"), False), 0.0)
    (problem,) = fetch(whole, None, full, Quiet()).problems.values()
    assert isinstance(problem, DiskFull)
    assert problem.message == f"{box.images}: No space left on device."


@pytest.mark.needs("root")
def test_a_rate_that_cannot_be_noted_keeps_no_report_back(box: ReadyBox) -> None:
    (box.directory / "state").mkdir()
    shutil.rmtree(box.directory / "cache")
    (box.bucket / "extra.bin").write_bytes(os.urandom(300_000))  # enough to tell a rate by
    done = _where_read_only(box, box.directory / "state", "--also", "extra.bin")
    assert json.loads(done.stdout)["ready"]
    assert "the rate can't be noted: " in done.stderr
    assert "Read-only file system" in done.stderr


def test_a_rate_once_measured_is_used(box: ReadyBox) -> None:
    (box.directory / "state").mkdir()
    (box.directory / "state/ready-rate.json").write_text('{"version": 1, "rate": 500.0, "at": 0}')
    shutil.rmtree(box.images)
    rows = box.amiss()
    assert len(rows) == 2
    for row in rows:
        assert row["seconds"] == pytest.approx(row["missing"] / 500)
        assert "in no bundle" in row["detail"]
    (box.directory / "state/ready-rate.json").write_text("")  # a power cut's
    assert [row["seconds"] for row in box.amiss()] == [None, None]


def test_an_image_that_collection_may_take(box: ReadyBox) -> None:
    """containerd has it whole, and not pinned."""
    lock, here = read_lock(box.directory / "images.lock"), Platform.here()
    store = [
        Row(name, image.at(here).digest, State.UNPINNED, "garbage collection may take it")
        for image in lock.images
        for name in names(image, here, lock)
    ]
    assert [row.check for row in locked(lock, here, store)] == ["images.pinned"] * 2


@pytest.mark.needs("containerd")
def test_a_running_containerd_gets_them_too(box: ReadyBox) -> None:
    """Whole, under every name, and kept from collection."""
    with (
        tempfile.TemporaryDirectory(prefix="ht-", dir="/tmp") as short,
        containerd(Path(short)) as server,
    ):
        running = ("--socket", server.socket)
        shutil.rmtree(box.images)
        assert {row["check"] for row in box.amiss(*running)} == {"images.here"}
        assert box.amiss("--fetch", *running) == []
        assert box.image in server.ctr("images", "ls", "-q")
        label = "io.cri-containerd.pinned="  # as others' imports leave it
        for name in server.ctr("images", "ls", "-q").split():
            server.ctr("images", "label", name, label)
        assert box.amiss(*running) == []  # k3s pins what it loads from the bundle
        shutil.rmtree(box.images)
        assert {row["check"] for row in box.amiss(*running)} == {"images.pinned"}
        assert box.amiss("--fetch", *running) == []
