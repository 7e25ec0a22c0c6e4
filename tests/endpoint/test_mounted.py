"""What the endpoint learns of the weights from the mount they lie on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hardtack.endpoint.known import _is_there
from hardtack.endpoint.mounted import Mount
from hardtack.inference.arrived import present
from hardtack.inference.package import Input, Network, Output, Package, Weights
from tests.support.commands import Box
from tests.support.s3 import s3_server
from tests.support.stopping import stopped
from tests.support.waiting import until

BODY = random.Random(5).randbytes(3_000_000)
NETWORK = Network("a.onnx", Input(), Output("softmax"))


def package(directory: Path, *files: str) -> Package:
    weights = tuple(Weights(file, len(BODY), "") for file in files)
    return Package(directory, "binary", ("YES", "NO"), weights, NETWORK, None)


@pytest.mark.needs("root", "fuse")
def test_a_mount_tells_what_it_holds_and_when_it_hangs(tmp_path: Path) -> None:
    with s3_server(tmp_path / "s3") as server:
        server.create_bucket("weights")
        for name in ("a.onnx", "b.onnx"):
            server.put("weights", f"models/{name}", BODY)
        box = Box(tmp_path, server)
        with box.mounted() as point:
            models = point / "models"
            assert present(package(models, "a.onnx", "b.onnx"))[1] == 2 * len(BODY)
            (models / "a.onnx").read_bytes()
            until(lambda: present(package(models, "a.onnx")) == (len(BODY), len(BODY)))
            mount = Mount(models)
            said = mount.status(20)
            assert said is not None and said["answers"]
            assert said["mountpoint"] == str(point)
            assert said["objects"] == 2
            assert said["source"] == box.source
            assert said["reachable_since"]
            worker = int((point / ".hardtack").read_text().split('"worker": ')[1].split(",")[0])
            with stopped(worker):
                silent = mount.status(0.2)
                assert silent is not None and not silent["answers"]
                assert mount.status(0.2) == silent  # it is not asked again meanwhile
            again = mount.status(20)
            assert again is not None and again["answers"]


def test_a_plain_directory_holds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(BODY)
    assert present(package(tmp_path, "a.onnx", "b.onnx")) == (len(BODY), 2 * len(BODY))
    assert Mount(tmp_path).status(20) is None


def test_models_that_cannot_be_looked_at_are_not_there(tmp_path: Path) -> None:
    """`is_dir` raises for what it doesn't know as absence, such as a dead mount."""
    assert _is_there(tmp_path)
    assert not _is_there(tmp_path / ("x" * 300))
