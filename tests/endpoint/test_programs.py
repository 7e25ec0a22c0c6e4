"""Another program as a detector's server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hardtack.core.errors import ConfigError, EndpointError
from hardtack.demo.detectors import SAMPLES, Sample
from hardtack.endpoint import answers
from hardtack.endpoint.detectors import MODES, Detector, read_detectors
from hardtack.inference import response
from hardtack.inference.model import open_model
from tests.endpoint.test_rollout import FAST, serves
from tests.support.commands import run
from tests.support.endpoints import endpoint, write_models

ID = "det_other0000000000000000000000"
SCRIPT = str(Path(__file__).with_name("other_server.py"))


def detectors(directory: Path, server: dict[str, Any]) -> Path:
    path = directory / "detectors.yaml"
    path.write_text(json.dumps({"detectors": [{"id": ID, "name": "other", "server": server}]}))
    return path


def publish(models: Path, version: int, confidence: float) -> None:
    answer = {"confidences": [confidence], "labels": [0], "probabilities": [confidence],
              "scores": [1.0]}  # fmt: skip
    body = json.dumps(answer)
    made = models / ".making"
    made.mkdir(parents=True)
    (made / "weights").write_text(body)
    (made / "model.toml").write_text(
        f'format = 1\ntask = "binary"\nclasses = ["YES", "NO"]\nruntime = "command"\n'
        f'[[weights]]\nfile = "weights"\nsize = {len(body)}\n'
    )
    (models / ID / "primary").mkdir(parents=True, exist_ok=True)
    made.rename(models / ID / "primary" / str(version))


def test_a_program_answers_and_is_rolled_as_our_own_server_is(tmp_path: Path) -> None:
    models = tmp_path / "models"
    publish(models, 1, 0.9)
    named = detectors(tmp_path, {"command": [sys.executable, SCRIPT]})
    with endpoint(tmp_path, models, named, *FAST) as served:
        result = served.post(ID, b"any picture").json()["result"]
        assert (result["label"], result["confidence"]) == ("YES", 0.9)
        assert result["from_edge"] is True
        publish(models, 2, 0.8)
        serves(served, "2", ID)
        assert served.post(ID, b"any picture").json()["result"]["confidence"] == 0.8
        log = (tmp_path / "state" / "logs" / f"{ID}.log").read_text()
        assert "a word on standard output 2" in log


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"comand": ["x"]}, "Did you mean 'command'"),
        ({"image": ""}, "must be text"),
        ({"command": []}, "needs a command"),
    ],
)
def test_a_server_that_can_not_be_is_named_with_its_place(
    tmp_path: Path, server: dict[str, Any], said: str
) -> None:
    publish(tmp_path / "models", 1, 0.9)
    with pytest.raises(ConfigError, match=said):
        read_detectors(detectors(tmp_path, server), tmp_path / "models")


def test_an_image_alone_is_for_kubernetes(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1, 0.9)
    named = detectors(tmp_path, {"image": "registry.example/other:1"})
    done = run("endpoint", "serve", "--models", tmp_path / "models", "--detectors", named,
               "--state", tmp_path / "state", "--port", "0")  # fmt: skip
    assert done.returncode == ConfigError.exit_code
    assert "no Kubernetes" in done.stderr


@pytest.mark.parametrize(
    "sample", [s for s in SAMPLES if s.name in ("zero", "digit", "parts", "text-lines", "label")],
    ids=lambda sample: str(sample.name),
)  # fmt: skip
def test_edge_endpoints_reply_alone_says_what_our_own_result_says(
    sample: Sample, tmp_path: Path
) -> None:
    """Our server answers with both: they must agree, for every mode."""
    models = write_models(tmp_path, [sample])
    model = open_model(models / sample.id)
    reply = response.reply(model.infer(sample.picture()))
    detector = Detector(sample.id, "n", "q", MODES[sample.task], model.package.classes, most=50)
    whole = answers.answer(detector, reply)
    alone = answers.answer(detector, {k: v for k, v in reply.items() if k != "result"})
    assert alone.confidence == pytest.approx(whole.confidence)
    assert alone.rois == whole.rois
    assert alone.text == whole.text
    assert {k: v for k, v in alone.result.items() if k != "confidence"} == {
        k: v for k, v in whole.result.items() if k != "confidence"
    }


@pytest.mark.parametrize("mode", sorted(MODES.values()))
def test_a_reply_that_is_none_names_the_detector(mode: str) -> None:
    for reply in (
        {},
        {"predictions": None, "multi_predictions": None},
        {"predictions": {"labels": [7]}},
    ):
        with pytest.raises(EndpointError, match=ID):
            answers.answer(Detector(ID, "n", "q", mode), reply)
