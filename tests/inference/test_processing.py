"""Pre- and postprocessing against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from hardtack.core.errors import ModelError
from hardtack.inference import oodd, postprocess, preprocess, tasks
from hardtack.inference.images import Picture
from hardtack.inference.model import class_probabilities
from hardtack.inference.package import Input, Output
from hardtack.inference.postprocess import Found
from hardtack.inference.preprocess import Placement
from hardtack.inference.tasks import Box


def picture(height: int, width: int, value: int = 200) -> Picture:
    return Image.new("RGB", (width, height), (value, value, value))


def test_stretch_gives_the_size_and_both_scales() -> None:
    canvas, placement = preprocess.stretch(picture(10, 20), 40, 5)
    assert canvas.shape == (5, 40, 3)
    assert placement == Placement(2.0, 0.5)


def test_letterbox_centres_the_whole_picture() -> None:
    canvas, placement = preprocess.letterbox(picture(10, 20), 40, 40)
    assert placement == Placement(2.0, 2.0, 0, 10)
    assert canvas[:10].max() == canvas[30:].min() == 114
    assert (canvas[10:30] == 200).all()


def test_padding_fills_up_to_multiples_and_respects_the_longest_side() -> None:
    canvas, placement = preprocess.pad_to_multiple(picture(33, 64), 32, 960)
    assert canvas.shape == (64, 64, 3)
    assert (canvas[:33] == 200).all() and not canvas[33:].any()
    assert placement == Placement(1.0, 1.0)
    canvas, placement = preprocess.pad_to_multiple(picture(100, 200), 32, 96)
    assert canvas.shape == (64, 96, 3)
    assert placement == Placement(0.48, 0.48)


def test_to_height_keeps_proportions_up_to_the_widest() -> None:
    assert preprocess.to_height(picture(24, 50), 48, 8192)[0].shape == (48, 100, 3)
    assert preprocess.to_height(picture(24, 50), 48, 80)[0].shape == (48, 80, 3)


def test_colours_and_layout_order_the_channels() -> None:
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    assert preprocess.colours(red, "rgb").reshape(-1).tolist() == [255, 0, 0]
    assert preprocess.colours(red, "bgr").reshape(-1).tolist() == [0, 0, 255]
    assert preprocess.colours(red, "grey").tolist() == [[[76]]]
    tensor = np.zeros((2, 5, 3), np.float32)
    assert preprocess.layout(tensor, "nchw").shape == (1, 3, 2, 5)
    assert preprocess.layout(tensor, "nhwc").shape == (1, 2, 5, 3)


def test_normalise_works_on_each_channel() -> None:
    pixels = np.array([[[0, 51, 255]]], np.uint8)
    values = preprocess.normalise(pixels, 255, (0.5, 0.2, 0.0), (0.5, 1.0, 2.0))
    assert values.dtype == np.float32
    assert values.reshape(-1).tolist() == pytest.approx([-1, 0, 0.5], abs=1e-6)


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "multiple", "height"])
def test_every_fit_makes_one_batch_of_floats(fit: str) -> None:
    tensor, _ = preprocess.prepare(picture(30, 45), Input("x", 64, 32, fit=fit))
    assert tensor.dtype == np.float32
    assert tensor.shape[:2] == (1, 3)


def test_softmax_of_known_logits() -> None:
    found = postprocess.softmax(np.log(np.array([1.0, 2.0, 5.0])) + 1000)
    assert found.tolist() == pytest.approx([0.125, 0.25, 0.625])


def test_sigmoid_neither_overflows_nor_drifts() -> None:
    found = postprocess.sigmoid(np.array([0.0, math.log(3), -1000.0, 1000.0], np.float32))
    assert found.tolist() == pytest.approx([0.5, 0.75, 0.0, 1.0])


def test_overlap_of_two_squares() -> None:
    one, other = Found(0, 0, 2, 2, 1), Found(1, 0, 3, 2, 1)
    assert postprocess.overlap(one, other) == pytest.approx(1 / 3)
    assert postprocess.overlap(one, Found(5, 5, 6, 6, 1)) == 0
    assert postprocess.overlap(Found(0, 0, 0, 0, 1), Found(0, 0, 0, 0, 1)) == 0


def test_suppression_keeps_the_best_of_each_class() -> None:
    best, worse = Found(0, 0, 10, 10, 0.9), Found(1, 0, 11, 10, 0.8)
    elsewhere, another = Found(50, 0, 60, 10, 0.3), Found(0, 0, 10, 10, 0.7, kind=1)
    kept = postprocess.suppress([worse, elsewhere, another, best], 0.5)
    assert kept == [best, another, elsewhere]
    assert worse in postprocess.suppress([worse, best], 0.9)


def test_yolo_rows_become_corners() -> None:
    rows = np.array([[50, 20], [40, 20], [20, 4], [10, 4], [0.1, 0.01], [0.75, 0.02]])
    assert postprocess.yolo_boxes(rows, 0.05) == [Found(40, 35, 60, 45, 0.75, 1)]


def test_map_parts_are_joined_by_corners_and_split_by_gaps() -> None:
    heat = np.zeros((20, 30))
    heat[2:6, 3:9] = 0.8
    heat[6:10, 9:12] = 0.8  # touches the first by a corner
    heat[12:16, 20:26] = 0.5
    heat[18, 2] = 0.9  # too small
    heat[2:6, 20:24] = 0.2  # too faint
    found = postprocess.map_boxes(heat, 0.3, 0.0, 3)
    assert [(b.left, b.top, b.right, b.bottom) for b in found] == [(3, 2, 12, 10), (20, 12, 26, 16)]
    assert [b.score for b in found] == pytest.approx([0.8, 0.5])


def test_a_ring_is_one_part() -> None:
    heat = np.zeros((12, 12))
    heat[2:10, 2:10] = 1
    heat[4:8, 4:8] = 0
    assert len(postprocess.map_boxes(heat, 0.5, 0.0, 3)) == 1


def test_margin_grows_by_area_over_perimeter_within_the_map() -> None:
    heat = np.zeros((40, 100))
    heat[10:20, 4:44] = 1
    (box,) = postprocess.map_boxes(heat, 0.5, 1.5, 3)
    assert (box.left, box.top, box.right, box.bottom) == (0, 4, 50, 26)  # 1.5 × 400 / 100 = 6


def test_split_tells_the_best_that_was_dropped() -> None:
    sure, unsure, worse = Found(0, 0, 1, 1, 0.9), Found(0, 0, 1, 1, 0.4), Found(0, 0, 1, 1, 0.1)
    assert postprocess.split([unsure, sure, worse], 0.5) == ([sure], 0.4)
    assert postprocess.split([sure], 0.5) == ([sure], 0.0)


def test_ctc_merges_repeats_and_honours_blanks() -> None:
    # a a blank a b space: "aab "
    path = [1, 1, 0, 1, 2, 3]
    scores = np.full((6, 4), 0.1)
    scores[range(6), path] = [0.7, 0.7, 0.9, 0.8, 0.9, 0.6]
    text, confidence = postprocess.ctc(scores, ["a", "b"])
    assert text == "aab "
    assert confidence == pytest.approx((0.7 + 0.8 + 0.9 + 0.6) / 4)
    assert postprocess.ctc(np.eye(4)[[0, 0]], ["a", "b"]) == ("", 0.0)


def test_outliers_pull_towards_a_guess() -> None:
    assert oodd.lowered(0.9, 0.0, 2) == pytest.approx(0.9)
    assert oodd.lowered(0.9, 1.0, 2) == pytest.approx(0.5)
    assert oodd.lowered(0.9, 0.5, 4) == pytest.approx(0.575)
    assert oodd.lowered(0.8, 0.25, 0) == pytest.approx(0.6)


def test_one_sigmoid_score_is_the_first_class() -> None:
    found = class_probabilities(np.array([[math.log(3)]]), Output("sigmoid"), 2)
    assert found.tolist() == pytest.approx([0.75, 0.25])


def test_scores_must_match_the_classes() -> None:
    with pytest.raises(ModelError, match=r"puts out 3 scores, model\.toml names 2 classes"):
        class_probabilities(np.zeros(3), Output("softmax"), 2)


def test_boxes_return_to_the_picture() -> None:
    placement = Placement(2.0, 2.0, 0, 10)
    box = tasks.on_picture(Found(10, 20, 30, 60, 0.9), "cup", placement, 20, 10)
    assert box == Box("cup", 0.9, 0.25, 0.5, 0.75, 1.0)


def test_confidence_of_boxes_and_texts() -> None:
    boxes = [Box("x", score, 0, 0, 1, 1) for score in (0.9, 0.8)]
    assert tasks.located(boxes, 0.25)[1] == pytest.approx(0.6)
    assert tasks.located([], 0.25)[1] == pytest.approx(0.75)
    lines = [("A", 0.9, boxes[0]), ("", 0.0, boxes[0]), ("B", 0.8, boxes[1])]
    result, confidence = tasks.texts(lines, 0.5)
    assert result.text == "A\nB"
    assert len(result.boxes) == 2
    assert confidence == pytest.approx(0.4)
