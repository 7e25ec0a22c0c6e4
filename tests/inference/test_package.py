"""Model packages: what is whole, which version counts, what an error says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hardtack.core.errors import ConfigError, HardtackError, ModelError
from hardtack.inference import ondisk, package, writing
from hardtack.inference.package import FILE, Input, Network, Output, Package
from tests.inference.conftest import MODELS, Place

NETWORK = Network("a.onnx", Input("x", 8, 8), Output("softmax"))
WHOLE = writing.toml("multiclass", ("a", "b"), {"a.onnx": b"abc"}, NETWORK)


def parse(text: str) -> Package:
    return package.parse(text, Path("pkg"))


def test_what_is_written_is_read_again() -> None:
    odd = Network(
        "a.onnx",
        Input("x", 32, 16, "letterbox", "bgr", "nhwc", 1.0, (1.0, 2.0, 3.0), (0.5,), 8, 100),
        Output("yolo", "y", 0.25, 0.1, 1.5, 7, 0.45),
    )
    text = writing.toml("boxes", ('a "quoted" cup', "Ä"), {"a.onnx": b"abc"}, odd)
    found = parse(text)
    assert found.network == odd
    assert found.classes == ('a "quoted" cup', "Ä")
    assert found.weights[0].size == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "has format 2; this hardtack knows format 1"),
        ("format = 1", "", "format is missing"),
        ('"multiclass"', '"multiclas"', "task is 'multiclas'.*Did you mean 'multiclass'"),
        ('"softmax"', '"ctc"', "network.output.decode is 'ctc'"),
        ("size = 3", 'size = "3"', "size must be int, not str"),
        ("size = 3", "size = true", "size must be int, not bool"),
        ("width = 8", "widht = 8", "network.input.width is missing"),
        ("width = 8", "width = 8\nwidht = 8", "widht is not known.*Did you mean 'width'"),
        ("width = 8", "width = -8", "width must be between"),
        ("width = 8", "width = 8\nmean = [1, 2]", "mean must have 1 or 3 numbers"),
        ("width = 8", "width = 8\nscale = 0", "must be above zero"),
        ('["a", "b"]', '["a", "a"]', "names a class twice"),
        ('["a", "b"]', '["a"]', "must name two classes"),
        ('file = "a.onnx"\nsize', 'file = "../a.onnx"\nsize', "not a path inside the package"),
        ('file = "a.onnx"\nsize', 'file = "/etc/passwd"\nsize', "not a path inside the package"),
        ('file = "a.onnx"\nsize', 'file = "b.onnx"\nsize', r"which no \[\[weights\]\] names"),
        ('"multiclass"', '"binary"', 'must be "YES" and "NO"'),
        ("[network]", "[network", "is not TOML"),
    ],
)
def test_an_error_names_the_place_and_the_fault(old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(ModelError, match=message) as caught:
        parse(WHOLE.replace(old, new, 1))
    assert "pkg/model.toml" in caught.value.message
    assert caught.value.exit_code == 80


def test_a_finder_is_for_text_and_yes_or_no() -> None:
    finder = Network("a.onnx", Input("x", fit="multiple"), Output("map"))
    text = writing.toml("multiclass", ("a", "b"), {"a.onnx": b"abc"}, NETWORK, finder)
    with pytest.raises(ModelError, match="finder is for the tasks binary and text"):
        parse(text)


def test_the_highest_whole_version_wins(place: Place) -> None:
    versions = {name: place("digit", version=name) for name in ("2", "9", "10", "11", "latest")}
    root = versions["2"].parent
    assert ondisk.versions(root) == [11, 10, 9, 2]
    with (versions["11"] / "model.onnx").open("ab") as file:
        file.write(b"more")
    (versions["10"] / "model.onnx").unlink()
    assert ondisk.newest(root).version == "9"


def test_a_wrong_hash_is_found_unless_sizes_suffice(place: Place) -> None:
    directory = place("digit")
    body = bytearray((directory / "model.onnx").read_bytes())
    body[500] ^= 1
    (directory / "model.onnx").write_bytes(body)
    with pytest.raises(ModelError, match=r"has SHA-256 .* says"):
        ondisk.open_package(directory)
    assert ondisk.open_package(directory, hashes=False).version == "1"


def test_nothing_whole_says_why_for_each_version(place: Place) -> None:
    one, two = place("digit", version="1"), place("digit", version="2")
    (one / "model.onnx").unlink()
    (two / FILE).write_text("format = 99")
    with pytest.raises(ModelError) as caught:
        ondisk.newest(one.parent)
    assert "format 99" in caught.value.message
    assert f"{one / 'model.onnx'}: No such file" in caught.value.message


def test_missing_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere can't be listed"):
        ondisk.locate(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"model\.toml can't be read: No such file"):
        ondisk.open_package(tmp_path)


def test_locate_takes_a_package_its_versions_or_the_detector(place: Place) -> None:
    primary, outliers = place("digit", version="3"), place("zero", role="oodd")
    for directory in (primary, primary.parent):
        found, none = ondisk.locate(directory)
        assert (found.directory, none) == (primary, None)
    found, other = ondisk.locate(primary.parent.parent)
    assert found.name == "det_x" and found.version == "3"
    assert other is not None and other.directory == outliers


def test_a_draft_for_an_onnx_file_is_a_whole_package(tmp_path: Path) -> None:
    onnx = MODELS / "digit" / "model.onnx"
    text = writing.draft(onnx, "multiclass", tuple("0123456789"))
    writing.write_package(tmp_path / "1", text, onnx)
    found = ondisk.open_package(tmp_path / "1")
    assert found.network is not None
    assert (found.network.input.width, found.network.input.colour) == (8, "grey")
    with pytest.raises(ConfigError, match="exists already"):
        writing.write_package(tmp_path / "1", text, onnx)


def test_a_draft_refuses_what_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match="not a model that ONNX Runtime can load"):
        writing.draft(tmp_path / "x.onnx", "binary", ("YES", "NO"))
    shutil.copy(MODELS / "digit" / "model.onnx", tmp_path / "y.onnx")
    with pytest.raises(HardtackError, match="two classes"):
        writing.write_package(
            tmp_path / "1",
            writing.draft(tmp_path / "y.onnx", "multiclass", ("a",)),
            tmp_path / "y.onnx",
        )
    assert not (tmp_path / "1").exists()
