"""`hardtack model`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hardtack.core.errors import ModelError
from hardtack.demo.detectors import SAMPLES
from hardtack.inference import fitting
from hardtack.inference.model import open_model
from tests.inference.conftest import MODELS, Place
from tests.support.commands import run
from tests.support.endpoints import write_models


def test_check_ends_with_0_or_1_and_says_why(place: Place) -> None:
    directory = place("digit")
    assert run("model", "check", directory).returncode == 0
    (directory / "model.onnx").write_bytes(b"short")
    done = run("model", "check", directory, "--json")
    assert done.returncode == 1
    assert "has 5 bytes" in json.loads(done.stdout)["problem"]


def test_show_names_task_files_and_tensors(place: Place) -> None:
    directory = place("shape")
    shown = run("model", "show", directory)
    assert shown.returncode == 0
    for word in ("multiclass", "circle, square, triangle", "model.onnx", "1×1×24×24"):
        assert word in shown.stdout
    facts = json.loads(run("model", "show", directory, "--json").stdout)
    assert facts["package"]["network"]["input"]["width"] == 24


def test_run_prints_the_answer() -> None:
    picture = MODELS / "digit-7.png"
    told = run("model", "run", MODELS / "digit", picture)
    assert told.returncode == 0 and "label" in told.stdout
    assert (
        json.loads(run("model", "run", MODELS / "digit", picture, "--json").stdout)["label"] == "7"
    )


def test_run_refuses_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    assert run("model", "run", MODELS / "digit", tmp_path / "x.jpg").returncode == 81


def test_new_says_what_is_missing_before_it_writes(tmp_path: Path) -> None:
    onnx = MODELS / "digit" / "model.onnx"
    for options, code, said in (
        (["--task", "multiclass"], 2, "needs --class: each class"),
        (["--task", "boxes"], 2, "needs --class: what the boxes show"),
        (["--task", "binary"], 11, "puts out 10 scores, and 2 classes are named: YES, NO"),
    ):
        done = run("model", "new", onnx, "--to", tmp_path / "1", *options)
        assert done.returncode == code
        assert said in done.stderr
    assert not (tmp_path / "1").exists()


def test_new_writes_a_package_that_runs(tmp_path: Path) -> None:
    classes = [f"--class={n}" for n in range(10)]
    directory = tmp_path / "det_d" / "primary" / "1"
    onnx = MODELS / "digit" / "model.onnx"
    done = run("model", "new", onnx, "--to", directory, "--task", "multiclass", *classes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(directory / "model.toml")
    answer = run("model", "run", tmp_path / "det_d", MODELS / "digit-7.png", "--json")
    assert json.loads(answer.stdout)["label"] == "7"


def test_check_finds_a_wrong_count_of_classes(place: Place) -> None:
    directory = place("shape")
    text = (directory / "model.toml").read_text()
    (directory / "model.toml").write_text(
        re.sub(r"(?m)^classes = .*", 'classes = ["a", "b"]', text)
    )
    done = run("model", "check", directory)
    assert done.returncode == 1
    assert f"{directory}: The network puts out 3 scores, model.toml names 2 classes" in done.stdout
    assert run("model", "show", directory).returncode == 0


def test_an_output_that_varies_is_tried(place: Place) -> None:
    directory = place("shape")
    text = (directory / "model.toml").read_text()
    (directory / "model.toml").write_text(
        re.sub(r"(?m)^classes = .*", 'classes = ["a", "b"]', text)
    )
    model = open_model(directory)
    model.main.output_shape = (-1, -1)
    with pytest.raises(ModelError, match="puts out 3 scores"):
        fitting.check(model)


@pytest.mark.parametrize(("rows", "said"), [(6, 2), (4, 0), (5, None), (-1, None)])
def test_boxes_of_more_or_fewer_classes_than_named_are_found(
    place: Place, rows: int, said: int | None
) -> None:
    directory = place("parts")
    text = (directory / "model.toml").read_text()
    (directory / "model.toml").write_text(text.replace('decode = "map"', 'decode = "yolo"'))
    model = open_model(directory)
    assert len(model.package.classes) == 1
    model.main.output_shape = (1, rows, 100)
    if said is None:
        fitting._demand_kinds(model)
    else:
        with pytest.raises(ModelError, match=f"puts out {said} scores a box, model.toml names 1"):
            fitting.check(model)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((1, 1, 64, 64), True), ((-1, 1, -1, -1), True), ((1, 64, 64), True), ((), True),
     ((1, 2, 64, 64), False), ((1, 4096), False)],
)  # fmt: skip
def test_what_is_no_map_is_found(place: Place, shape: tuple[int, ...], fits: bool) -> None:
    model = open_model(place("parts"))
    model.main.output_shape = shape
    if fits:
        fitting._demand_maps(model)
    else:
        with pytest.raises(ModelError, match="not one map of height × width"):
            fitting.check(model)


def test_a_map_of_two_classes_is_found(place: Place) -> None:
    directory = place("parts")
    text = (directory / "model.toml").read_text()
    (directory / "model.toml").write_text(text.replace("classes = [", 'classes = ["other", '))
    with pytest.raises(ModelError, match="A map shows one class"):
        fitting.check(open_model(directory))


def test_a_reader_of_other_characters_than_it_names_is_found(tmp_path: Path) -> None:
    (package,) = write_models(tmp_path, [SAMPLES[2]]).glob("*/primary/1")
    model = open_model(package)
    fitting.check(model)
    model.characters = model.characters[:-3]
    with pytest.raises(ModelError, match=r"puts out .* and names \d+ characters; expected"):
        fitting.check(model)


@pytest.mark.parametrize("sample", ["digit", "shape", "parts", "focus", "zero"])
def test_each_sample_fits(sample: str) -> None:
    fitting.check(open_model(MODELS / sample))
