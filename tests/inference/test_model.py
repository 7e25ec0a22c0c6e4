"""Models that answer: the nine samples on pictures that show it, and what can't be answered."""

from __future__ import annotations

import random
from pathlib import Path

import psutil
import pytest

from hardtack.core.errors import ConfigError, ModelError, PictureError
from hardtack.demo import detectors, pictures
from hardtack.demo.detectors import SAMPLES, Sample
from hardtack.inference.images import decode
from hardtack.inference.model import open_model
from hardtack.inference.package import FILE
from hardtack.inference.response import as_json, reply
from hardtack.inference.runtime import Options, threads_allowed
from hardtack.inference.tasks import BoxesResult, ClassResult, TextResult
from tests.inference.conftest import MODELS, Place


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nine packages as the bucket holds them."""
    directory = tmp_path_factory.mktemp("mount")
    for key, body in detectors.objects().items():
        (directory / key).parent.mkdir(parents=True, exist_ok=True)
        (directory / key).write_bytes(body)
    return directory


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_detector_sees_what_its_picture_shows(mount: Path, sample: Sample) -> None:
    model = open_model(mount / "models" / sample.id)
    assert model.package.name == sample.id
    prediction = model.infer(sample.picture())
    result = prediction.result
    shown = {
        ClassResult: lambda r: r.label,
        BoxesResult: lambda r: r.count,
        TextResult: lambda r: r.text,
    }[type(result)](result)
    assert shown == sample.shows
    assert 0.5 < prediction.confidence <= 1
    answer = reply(prediction)
    assert (answer["predictions"] is None) != (answer["multi_predictions"] is None)


def test_the_label_the_right_way_up_is_not_upside_down(mount: Path) -> None:
    sample = next(s for s in SAMPLES if s.name == "upside-down")
    model = open_model(mount / "models" / sample.id)
    result = model.infer(pictures.png(pictures.label(("KEEPS", "HARDTACK")))).result
    assert isinstance(result, ClassResult) and result.label == "NO"


def test_an_empty_label_has_no_text(mount: Path) -> None:
    sample = next(s for s in SAMPLES if s.name == "label")
    prediction = open_model(mount / "models" / sample.id).infer(pictures.png(pictures.label(())))
    assert isinstance(prediction.result, TextResult) and prediction.result.text == ""


def test_pictures_never_seen_are_answered_as_well_as_the_cards_say() -> None:
    chance = random.Random(77)
    shape, parts, focus = (open_model(MODELS / name) for name in ("shape", "parts", "focus"))
    right = 0
    for n in range(60):
        kind = pictures.SHAPES[n % 3]
        first = shape.infer(pictures.png(pictures.shape(kind, chance))).result
        right += isinstance(first, ClassResult) and first.label == kind
        picture, discs = pictures.parts(n % 10, chance)
        second = parts.infer(pictures.png(picture)).result
        right += isinstance(second, BoxesResult) and second.count == len(discs)
        third = focus.infer(pictures.png(pictures.scene(n % 2 == 0, chance))).result
        right += isinstance(third, ClassResult) and (third.label == "YES") == (n % 2 == 0)
    assert right >= 0.93 * 180


def test_boxes_lie_on_the_parts() -> None:
    picture, discs = pictures.parts(1, random.Random(5))
    result = open_model(MODELS / "parts").infer(pictures.png(picture)).result
    assert isinstance(result, BoxesResult)
    (box,) = result.boxes
    assert (box.left + box.right) / 2 == pytest.approx(discs[0].x / pictures.SIDE, abs=0.03)
    assert (box.top + box.bottom) / 2 == pytest.approx(discs[0].y / pictures.SIDE, abs=0.03)
    assert box.right - box.left == pytest.approx(2 * discs[0].radius / pictures.SIDE, abs=0.06)


def test_the_outlier_model_lowers_the_confidence(place: Place) -> None:
    primary = place("digit")
    place("zero", role="oodd")
    data = (MODELS / "digit-0.png").read_bytes()
    alone = open_model(primary).infer(data)
    both = open_model(primary.parent.parent).infer(data)
    assert alone.outlier is None
    assert both.outlier is not None and both.outlier > 0.9
    expected = both.outlier * 0.1 + (1 - both.outlier) * alone.confidence
    assert both.confidence == pytest.approx(expected)
    probabilities = reply(both)["multi_predictions"]["probabilities"][0]
    assert probabilities[0] == max(probabilities) == pytest.approx(both.confidence)
    assert sum(probabilities) == pytest.approx(1)


def test_an_outlier_model_must_be_binary(place: Place) -> None:
    primary = place("zero")
    place("digit", role="oodd")
    with pytest.raises(ModelError, match="an out-of-distribution model is binary"):
        open_model(primary.parent.parent)


def test_a_wrong_input_name_is_named(place: Place) -> None:
    directory = place("digit")
    text = (directory / FILE).read_text()
    (directory / FILE).write_text(text.replace('name = "image"', 'name = "pixels"'))
    with pytest.raises(ModelError, match="has no input 'pixels'; there are: image"):
        open_model(directory)


def test_a_wrong_size_of_input_is_an_error_of_the_model(place: Place) -> None:
    directory = place("digit")
    text = (directory / FILE).read_text()
    (directory / FILE).write_text(text.replace("width = 8", "width = 16"))
    with pytest.raises(ModelError, match="can't run on this input"):
        open_model(directory).infer((MODELS / "digit-0.png").read_bytes())


def test_too_few_classes_are_an_error_of_the_model(place: Place) -> None:
    directory = place("digit")
    text = (directory / FILE).read_text()
    (directory / FILE).write_text(text.replace('"9"]', '"9", "10"]'))
    with pytest.raises(ModelError, match="puts out 10 scores"):
        open_model(directory).infer((MODELS / "digit-0.png").read_bytes())


def test_what_is_no_picture_is_the_callers_fault() -> None:
    with pytest.raises(PictureError):
        open_model(MODELS / "digit").infer(b"no picture")


def test_one_pixel_is_a_picture_too() -> None:
    data = pictures.png(pictures.label(()).crop((0, 0, 1, 1)))
    assert decode(data).size == (1, 1)
    said = {
        name: as_json(open_model(MODELS / name).infer(data))
        for name in ("digit", "shape", "parts", "focus")
    }
    assert {name: answer.get("label", answer.get("count")) for name, answer in said.items()} == {
        "digit": "4", "shape": "triangle", "parts": 0, "focus": "NO"
    }  # fmt: skip
    assert all(answer["confidence"] > 0.9 for answer in said.values())


@pytest.mark.parametrize("provider", ["tpu", "tensorrt"])
def test_a_provider_that_is_not_there_is_named(provider: str) -> None:
    with pytest.raises(ConfigError, match=provider):
        open_model(MODELS / "digit", Options((provider,)))


def test_a_network_has_no_threads_beyond_those_that_are_allowed() -> None:
    process = psutil.Process()
    open_model(MODELS / "digit", Options(threads=1))  # what is imported has threads of its own
    before = process.num_threads()
    kept = [open_model(MODELS / "digit", Options(threads=1)) for _ in range(2)]
    assert process.num_threads() == before
    kept.append(open_model(MODELS / "digit", Options(threads=threads_allowed(0))))
    assert process.num_threads() == before + threads_allowed(0) - 1


def test_threads_stay_within_the_cgroup(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("50000 100000\n")
    assert threads_allowed(0, limit) == threads_allowed(8, limit) == 1
    limit.write_text("max 100000\n")
    assert threads_allowed(1, limit) == 1
    assert threads_allowed(0, limit) == threads_allowed(0, tmp_path / "absent") >= 1
