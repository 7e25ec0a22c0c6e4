"""A box that is ready says so; each thing that it needs, taken away, is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ready import CHOSEN, ReadyBox, open_cache, ready_box, ship

pytestmark = pytest.mark.needs("registry")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ship(tmp_path_factory.mktemp("factory"))


@pytest.fixture
def box(tmp_path: Path, shipped: Path) -> ReadyBox:
    return ready_box(tmp_path, shipped)


def test_ready(box: ReadyBox) -> None:
    done = box.ready()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "READY"
    assert box.amiss() == []


def _bundle(box: ReadyBox) -> Path:
    return next(box.images.glob("images-*.tar"))


def _content(box: ReadyBox, size: int) -> Path:
    files = (box.directory / "cache/content").glob("??/*.data")
    return next(file for file in files if file.stat().st_size == size)


def _manifest(box: ReadyBox, old: str, new: str) -> None:
    file = box.manifests / "pod.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _flip_model(box: ReadyBox) -> None:
    _flip(_content(box, (box.model() / "model.onnx").stat().st_size))


def _evict(box: ReadyBox) -> None:
    with open_cache(box) as cache:
        cache.unpin("june")
        cache.evict(["*/model.onnx"])


def _unpin(box: ReadyBox) -> None:
    with open_cache(box) as cache:
        cache.unpin("june")


def _relist(box: ReadyBox) -> None:
    with open_cache(box) as cache:
        cache.refresh()


def _republish(box: ReadyBox) -> None:
    """A newer version, listed and not fetched: it is what the endpoint would load."""
    shutil.copytree(box.model(), box.model().with_name("2"))
    with (box.model().with_name("2") / "model.toml").open("a") as file:
        file.write("# newer\n")
    _relist(box)


def _withdraw(box: ReadyBox) -> None:
    """The mode, which the model would have said, is given."""
    file = box.directory / "detectors.json"
    file.write_text(file.read_text().replace('"name":', '"mode": "binary", "name":'))
    shutil.rmtree(box.model().parent)
    _relist(box)


def _cut_short(box: ReadyBox) -> None:
    """The source itself holds a package that isn't whole."""
    (box.model() / "model.onnx").unlink()
    _relist(box)


def _edge_config(box: ReadyBox, detector: str, name: str) -> None:
    (box.directory / "state").mkdir(exist_ok=True)
    entry = {"detector_id": detector, "edge_inference_config": name}
    (box.directory / "state/edge-config.yaml").write_text(json.dumps({"detectors": [entry]}))


UNKNOWN = "det_" + "z" * 27
BREAKS: dict[str, tuple[Callable[[ReadyBox], object], str, str]] = {
    "no lock": (lambda b: (b.directory / "images.lock").unlink(), "images", "doesn't exist"),
    "no bundle": (lambda b: _bundle(b).unlink(), "images", "in no bundle"),
    "a byte of the bundle": (lambda b: _flip(_bundle(b)), "images", "other bytes"),
    "pull policy": (lambda b: _manifest(b, "IfNotPresent", "Always"), "images", "Always"),
    "image not locked": (lambda b: _manifest(b, "camera:v1", "camera:v2"), "images", "lock does"),
    "model evicted": (_evict, "weights", "model.onnx is absent"),
    "a byte of the model": (_flip_model, "weights", "not verified"),
    "not pinned": (_unpin, "weights", "in no release"),
    "newer version": (_republish, "weights", "primary/2/model.onnx is absent"),
    "no version": (_withdraw, "weights", "no version of a model"),
    "half a version": (_cut_short, "weights", "model.onnx is not listed"),
    "no cache": (lambda b: shutil.rmtree(b.directory / "cache"), "weights", "never listed"),
    "no detectors": (
        lambda b: (b.directory / "detectors.json").unlink(), "configuration", "detectors.json",
    ),
    "unknown detector": (
        lambda b: _edge_config(b, UNKNOWN, "default"), "configuration", "what it asks",
    ),
    "bad configuration": (
        lambda b: _edge_config(b, CHOSEN[0].id, "speedy"), "configuration", "speedy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named(box: ReadyBox, name: str) -> None:
    damage, part, text = BREAKS[name]
    damage(box)
    rows = box.amiss()
    said = [row for row in rows if row["part"] == part and text in row["detail"]]
    assert said, rows
    assert all(row["remedy"] for row in rows)
