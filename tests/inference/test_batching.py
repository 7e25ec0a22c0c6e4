"""Pictures put to a network at once are answered as each alone is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hardtack.core.errors import ModelError
from hardtack.demo.detectors import SAMPLES, Sample
from hardtack.inference.batching import MOST, Batching, why_singly
from hardtack.inference.images import Picture, decode
from hardtack.inference.model import Model, open_model
from hardtack.inference.runtime import Options, Port
from hardtack.inference.tasks import BoxesResult, ClassResult, Prediction, TextResult
from tests.inference.conftest import Place
from tests.inference.test_server import JPEG, SEVEN, serving
from tests.support.endpoints import write_models

WINDOW = 5.0
"""So long that only a full batch ends it."""
BOXES, LINES, LABEL, UPSIDE_DOWN = SAMPLES[:4]


class Doubling:
    """A network that doubles its pictures, and fails on what is below 0."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, tensor: NDArray[Any]) -> NDArray[Any]:
        self.runs.append(len(tensor))
        if (tensor < 0).any():
            raise ModelError("It is below 0.")
        return tensor * 2


def picture(value: float, side: int = 1) -> NDArray[Any]:
    return np.full((1, side), value, np.float32)


def together(batching: Batching, *pictures: NDArray[Any]) -> list[Any]:
    """What each gets, all at once: its result, or what was raised."""

    def one(tensor: NDArray[Any]) -> Any:
        try:
            return batching(tensor)
        except ModelError as error:
            return error

    with ThreadPoolExecutor(len(pictures)) as pool:
        return list(pool.map(one, pictures))


def test_a_full_batch_is_one_run_and_each_gets_its_own() -> None:
    network, told = Doubling(), list[int]()
    batching = Batching(network, WINDOW, most=4)
    batching.heard = told.append
    results = together(batching, *map(picture, range(4)))
    assert [float(r.item()) for r in results] == [0, 2, 4, 6]
    assert network.runs == told == [4]


def test_one_that_fails_spoils_none_of_the_others() -> None:
    batching = Batching(Doubling(), WINDOW, most=4)
    results = together(batching, picture(1), picture(-1), picture(2), picture(3))
    assert str(results.pop(1)) == "It is below 0."
    assert [float(r.item()) for r in results] == [2, 4, 6]


def test_other_shapes_are_other_batches() -> None:
    network = Doubling()
    batching = Batching(network, WINDOW, most=2)
    results = together(batching, picture(1), picture(2, 3), picture(3), picture(4, 3))
    assert [r.shape for r in results] == [(1, 1), (1, 3), (1, 1), (1, 3)]
    assert network.runs == [2, 2]


def test_one_that_stays_alone_is_run_alone() -> None:
    network = Doubling()
    assert Batching(network, 0.01)(picture(2)).item() == 4
    assert network.runs == [1]


FREE, FIXED = Port("x", (-1, 1), "tensor(float)"), Port("y", (1, 1), "tensor(float)")


@pytest.mark.parametrize(
    ("run", "taken", "given", "why"),
    [
        (lambda t: t, FREE, FREE, ""),
        (lambda t: t, FIXED, FREE, "the first dimension of its input y is 1, not free"),
        (lambda t: t, FREE, FIXED, "the first dimension of its output y is 1, not free"),
        (lambda t: t - t.mean(), FREE, FREE, "otherwise than each alone"),
        (lambda t: t[:1], FREE, FREE, "otherwise than each alone"),
    ],
)
def test_why_pictures_are_run_singly(run: Any, taken: Port, given: Port, why: str) -> None:
    said = why_singly(run, taken, given, picture(1), picture(2))
    assert why in said if why else not said


def alike(one: Prediction, other: Prediction) -> bool:
    """The same answer; sums in another order may differ in their last digits."""
    assert one.confidence == pytest.approx(other.confidence, abs=1e-4)
    mine, its = one.result, other.result
    if isinstance(mine, ClassResult) and isinstance(its, ClassResult):
        return mine.label == its.label
    if isinstance(mine, TextResult) and isinstance(its, TextResult):
        return mine.text == its.text
    assert isinstance(mine, BoxesResult) and isinstance(its, BoxesResult)
    return [(b.left, b.top) for b in mine.boxes] == [(b.left, b.top) for b in its.boxes]


@pytest.mark.parametrize("sample", [BOXES, LINES, LABEL, UPSIDE_DOWN], ids=lambda s: s.name)
def test_real_networks_answer_together_as_alone(tmp_path: Path, sample: Sample) -> None:
    directory = write_models(tmp_path, [sample]) / sample.id
    # Some that differ, of one size: what lies in them decides which are run together after that.
    pixels = np.asarray(decode(sample.picture())) // 16 * 16
    pictures = [Image.fromarray(pixels + np.uint8(n)) for n in range(MOST)]
    single = open_model(directory)
    alone = [single.judge(picture) for picture in pictures]
    model = open_model(directory, Options(window=0.5))
    runs: list[int] = []
    for network in model.networks:
        in_turn = network is model.main and model.finder is not None
        assert ("in turn" in network.singly) == (network.batching is None) == in_turn
        if network.batching:
            network.batching.heard = runs.append
    ready = threading.Barrier(MOST)

    def one(picture: Picture) -> Prediction:
        ready.wait()
        return model.judge(picture)

    with ThreadPoolExecutor(MOST) as pool:
        found = list(pool.map(one, pictures))
    assert all(map(alike, alone, found))
    assert max(runs) == MOST


def test_a_network_with_a_fixed_batch_says_so(place: Place) -> None:
    model: Model = open_model(place("digit"), Options(window=WINDOW))
    assert model.main.batching is None
    assert "is 1, not free" in model.main.singly


def test_a_server_gathers_what_comes_within_its_window(tmp_path: Path) -> None:
    directory = write_models(tmp_path, [UPSIDE_DOWN]) / UPSIDE_DOWN.id
    with serving(directory, "--batch-window", "1s") as server:
        ready = server.ask("GET", "/health/ready").json
        assert [why for why in ready["singly"].values() if "in turn" not in why] == []
        asked = [UPSIDE_DOWN.picture(), b"no picture", *[UPSIDE_DOWN.picture()] * 7]
        with ThreadPoolExecutor(len(asked)) as pool:
            replies = list(pool.map(lambda body: server.ask("POST", "/infer", body, JPEG), asked))
        assert [r.status for r in replies] == [200, 400, *[200] * 7]
        assert {r.json["result"]["label"] for r in replies if r.status == 200} == {"YES"}
        metrics = server.ask("GET", "/metrics").body.decode()
        runs = float(metrics.partition("hardtack_inference_batch_pictures_count ")[2].split()[0])
        pictures = float(metrics.partition("hardtack_inference_batch_pictures_sum ")[2].split()[0])
        assert pictures > runs  # several at once


def test_a_server_of_a_network_that_can_not_says_so(place: Place) -> None:
    with serving(place("digit"), "--batch-window", "5ms") as server:
        assert server.ask("GET", "/health/ready").json["singly"] == {
            "model.onnx": "the first dimension of its input image is 1, not free"
        }
        assert server.ask("POST", "/infer", SEVEN, JPEG).json["result"]["label"] == "7"
