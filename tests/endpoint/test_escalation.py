"""Image queries and the cloud: asked, away, hanging, back again."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.edgeconfig import PRESETS, Inference
from hardtack.endpoint.escalation import Answered, Way, way
from hardtack.endpoint.ids import new_image_query
from tests.support.clouds import OTHER, UNKNOWN, Cloud, running
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models

ZERO = SAMPLES[5]
UNSURE = {"confidence_threshold": "1.0"}
"""No answer is this sure."""
TOKEN = "api_" + "7" * 40


@pytest.mark.parametrize(
    ("preset", "confident", "expected"),
    [
        ("default", True, Way.EDGE),
        ("default", False, Way.CLOUD),
        ("edge_answers_with_escalation", True, Way.EDGE),
        ("edge_answers_with_escalation", False, Way.LATER),
        ("no_cloud", False, Way.EDGE),
        ("no_cloud", True, Way.EDGE),
    ],
)
def test_ways_of_the_presets(preset: str, confident: bool, expected: Way) -> None:
    assert way(PRESETS[preset], 0.0, Answered(confident, "DEFAULT", 1e9, 0.5)) is expected


def test_audits_are_drawn() -> None:
    assert way(Inference(), 0.5, Answered(True, "DEFAULT", 1e9, 0.49)) is Way.AUDIT
    assert way(Inference(), 0.5, Answered(True, "DEFAULT", 1e9, 0.51)) is Way.EDGE


def test_escalations_behind_the_answer_keep_their_distance() -> None:
    answering = Inference(always_return_edge_prediction=True, min_time_between_escalations=30)
    assert way(answering, 0, Answered(False, "DEFAULT", 29.9, 0.5)) is Way.EDGE
    assert way(answering, 0, Answered(False, "DEFAULT", 30.0, 0.5)) is Way.LATER


def test_people_are_asked_whatever_the_confidence() -> None:
    assert way(Inference(), 0, Answered(True, "ALWAYS", 0, 0.5)) is Way.CLOUD


class Box:
    """An endpoint with one detector and a cloud."""

    def __init__(self, directory: Path, cloud: Cloud) -> None:
        self.directory = directory
        self.cloud = cloud
        self.models = write_models(directory, [ZERO])
        self.detectors = write_detectors(directory / "detectors.yaml", [ZERO])

    def serving(
        self, *options: str, config: str = "", env: Mapping[str, str] | None = None,
        ready: bool = True,
    ) -> AbstractContextManager[Endpoint]:  # fmt: skip
        edge = self.directory / "edge.yaml"
        edge.write_text(config)
        return endpoint(
            self.directory, self.models, self.detectors, "--upstream", self.cloud.url,
            "--deadline", "1s", "--config", str(edge), *options,
            env={"GROUNDLIGHT_API_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1", **(env or {})},
            ready=ready,
        )  # fmt: skip


def configured(**settings: object) -> str:
    """An edge configuration that has the detector answered like that."""
    return json.dumps(
        {
            "edge_inference_configs": {"own": settings},
            "detectors": [{"detector_id": ZERO.id, "edge_inference_config": "own"}],
        }
    )


ANSWERING = configured(always_return_edge_prediction=True, min_time_between_escalations=0.001)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running(Cloud()) as up:
        yield up


@pytest.fixture
def box(tmp_path: Path, cloud: Cloud) -> Box:
    return Box(tmp_path, cloud)


def queue(running_box: Endpoint) -> Any:
    return running_box.json("/status/metrics.json")["cloud"]["queue"]


def wait_until_empty(running_box: Endpoint, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while queue(running_box)["size"]:
        if time.monotonic() > deadline:
            raise TimeoutError(running_box.json("/status/metrics.json")["cloud"])
        time.sleep(0.05)


def test_the_cloud_answers_what_the_box_is_unsure_of(box: Box, cloud: Cloud) -> None:
    with box.serving() as served:
        sure = served.submit(ZERO).json()
        assert sure["result"]["from_edge"] is True
        assert cloud.posts == 0
        metadata = base64.urlsafe_b64encode(b'{"line": 7}').decode()
        unsure = served.submit(ZERO, **UNSURE, metadata=metadata).json()
        assert unsure["result"]["from_edge"] is False
        assert unsure["result"]["source"] == "HUMAN"
        assert cloud.pictures[unsure["id"]] == ZERO.picture()
        told = cloud.received[unsure["id"]]
        assert json.loads(base64.urlsafe_b64decode(told["metadata"])) == {"line": 7}
        # It is kept: the cloud is not needed to see it again.
        cloud.mode = "500"
        assert served.json(f"/device-api/v1/image-queries/{unsure['id']}") == unsure


def test_the_callers_token_goes_with_it_and_into_no_log(box: Box, cloud: Cloud) -> None:
    with box.serving("--starting", "1") as served:
        path = f"/device-api/v1/image-queries?detector_id={ZERO.id}&confidence_threshold=1"
        picture = ZERO.picture()
        served.ask("POST", path, picture, **{"content-type": "image/png", "x-api-token": "mine"})
        assert cloud.tokens[-1] == "mine"
    everything = [p.read_bytes() for p in box.directory.rglob("*") if p.is_file()]
    assert not any(TOKEN.encode() in content for content in everything)


def test_a_query_that_is_queued_brings_its_callers_token(box: Box, cloud: Cloud) -> None:
    """No other token is known, and nothing of it is asked of the cloud at once."""
    with box.serving(config=ANSWERING, env={"GROUNDLIGHT_API_TOKEN": ""}) as served:
        path = f"/device-api/v1/image-queries?detector_id={ZERO.id}&confidence_threshold=1"
        picture = ZERO.picture()
        served.ask("POST", path, picture, **{"content-type": "image/png", "x-api-token": "mine"})
        cloud.wait_for(1)
        assert cloud.tokens[-1] == "mine"


def test_people_review_what_they_are_asked_to(box: Box, cloud: Cloud) -> None:
    with box.serving() as served:
        reviewed = served.submit(ZERO, human_review="ALWAYS").json()
        assert cloud.received[reviewed["id"]]["human_review"] == "ALWAYS"
        assert reviewed["result"]["from_edge"] is False


@pytest.mark.parametrize("mode", ["500", "redirect", "nonsense", "401", "hang", "trickle"])
def test_a_cloud_that_fails_costs_little_and_loses_nothing(
    box: Box, cloud: Cloud, mode: str
) -> None:
    cloud.mode = mode
    with box.serving() as served:
        first = served.submit(ZERO, **UNSURE).json()
        assert first["result"]["from_edge"] is True
        assert first["done_processing"] is False
        second = served.submit(ZERO, **UNSURE).json()
        assert second["result"]["from_edge"] is True
        assert queue(served)["size"] == 2
        cloud.mode = "ok"
        cloud.released.set()
        cloud.wait_for(2)
        wait_until_empty(served)
        assert cloud.order == [first["id"], second["id"]]
        later = served.json(f"/device-api/v1/image-queries/{first['id']}")
        assert later["result"]["from_edge"] is False


def test_json_that_is_no_image_query_is_no_answer(box: Box, cloud: Cloud) -> None:
    with box.serving() as served:
        sent = []
        for cloud.mode in OTHER:
            answered = served.submit(ZERO, **UNSURE)
            assert answered.status == 200, cloud.mode
            assert answered.json()["result"]["from_edge"] is True
            assert answered.json()["done_processing"] is False
            sent.append(answered.json()["id"])
            path = f"/device-api/v1/image-queries/{sent[-1]}"
            assert served.json(path)["result"]["from_edge"] is True
        assert queue(served)["size"] == len(OTHER)
        cloud.mode = "ok"
        wait_until_empty(served)
        assert cloud.order == sent


def test_after_the_first_failure_queries_do_not_ask_a_cloud_that_hangs(
    box: Box, cloud: Cloud
) -> None:
    cloud.mode = "hang"
    with box.serving() as served:
        for _ in range(20):
            assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is True
        assert cloud.posts == 1
        assert served.json("/status/metrics.json")["cloud"]["reachable"] is False


def test_the_queue_survives_kill_and_each_arrives_once(box: Box, cloud: Cloud) -> None:
    cloud.mode = "500"
    sent = []
    with box.serving(config=ANSWERING) as served:
        sent += [served.submit(ZERO, **UNSURE).json()["id"] for _ in range(20)]
        os.kill(served.process.pid, signal.SIGKILL)
        served.process.wait(10)
    with box.serving() as served:
        assert queue(served)["size"] == 20
        cloud.mode = "ok"
        cloud.wait_for(20)
        wait_until_empty(served)
    assert cloud.order == sent


def test_escalations_behind_answers_keep_their_distance(box: Box, cloud: Cloud) -> None:
    far = configured(always_return_edge_prediction=True, min_time_between_escalations=3600)
    with box.serving(config=far) as served:
        every = [served.submit(ZERO, **UNSURE).json() for _ in range(5)]
        assert all(one["result"]["from_edge"] for one in every)
        cloud.wait_for(1)
        wait_until_empty(served)
        assert cloud.order == [every[0]["id"]]


def test_no_cloud_means_none(box: Box, cloud: Cloud) -> None:
    silent = configured(always_return_edge_prediction=True, disable_cloud_escalation=True)
    with box.serving(config=silent) as served:
        assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is True
        assert served.submit(ZERO, human_review="ALWAYS").status == 400
        assert queue(served)["size"] == 0
    assert cloud.posts == 0


def test_confident_answers_are_audited(box: Box, cloud: Cloud) -> None:
    config = json.dumps({"global_config": {"confident_audit_rate": 1}})
    with box.serving(config=config) as served:
        sure = served.submit(ZERO).json()
        cloud.wait_for(1)
        wait_until_empty(served)
        # The box's answer stands.
        again = served.json(f"/device-api/v1/image-queries/{sure['id']}")
        assert again["result"]["from_edge"] is True


def test_a_detector_of_the_cloud_is_learnt_and_kept(box: Box, cloud: Cloud) -> None:
    with box.serving() as served:
        found = served.json(f"/device-api/v1/detectors/{UNKNOWN}")
        assert found["confidence_threshold"] == 0.75
        answer = served.post(UNKNOWN, ZERO.picture()).json()
        assert answer["result"]["source"] == "HUMAN"
        refused = served.ask("GET", "/device-api/v1/detectors/det_" + "9" * 27)
        assert refused.status == 404
        assert refused.json()["detail"].endswith(f"{'9' * 27}: 404, not here.")
    cloud.mode = "500"
    with box.serving() as served:
        assert served.json(f"/device-api/v1/detectors/{UNKNOWN}") == found
        refused = served.post("det_" + "9" * 27, ZERO.picture())
        assert refused.status == 503
        assert refused.headers["retry-after"]


def test_what_the_box_does_not_know_is_passed_on(box: Box, cloud: Cloud) -> None:
    with box.serving() as served:
        body = b"x" * 1_000_000
        assert served.ask("PATCH", "/device-api/v1/echo", body).json() == {
            "method": "PATCH", "body": len(body),
        }  # fmt: skip
        for path in ("/v1/groups/a%2Fb%3Fc%23d%25", "/v1/image-queries/%C3%BC"):
            served.ask("GET", path)
            assert cloud.asked[-1] == f"GET /device-api{path}"
        cloud.mode = "hang"
        assert served.ask("GET", "/device-api/v1/rules").status == 503
        assert served.ask("GET", "/device-api/v1/rules").headers["retry-after"]


@pytest.mark.parametrize("up", ["..", "%2e%2e", "v1/.%2E/.."])
def test_no_path_leads_out_of_the_clouds_api(box: Box, cloud: Cloud, up: str) -> None:
    with box.serving() as served, contextlib.closing(HTTPConnection(served.url[7:])) as caller:
        caller.request("GET", f"/device-api/{up}/admin")
        refused = caller.getresponse()
        assert refused.status == 400
        assert "write it without" in json.loads(refused.read())["detail"]
        assert "GET /admin" not in cloud.asked


@pytest.mark.parametrize("preset", ["default", "edge_answers_with_escalation"])
def test_what_the_clouds_people_say_later_is_read_and_kept(
    box: Box, cloud: Cloud, preset: str
) -> None:
    config = f"detectors: [{{detector_id: {ZERO.id}, edge_inference_config: {preset}}}]"
    cloud.undecided = True
    with box.serving(config=config) as served:
        asked = served.submit(ZERO, **UNSURE).json()
        assert asked["done_processing"] is False
        cloud.wait_for(1)
        wait_until_empty(served)
        path = f"/device-api/v1/image-queries/{asked['id']}"
        assert served.json(path)["result"] == asked["result"]
        cloud.undecided = False
        decided = served.json(path)
        assert decided["result"]["source"] == "HUMAN"
        assert decided["done_processing"] is True
        cloud.mode = "500"
        assert served.json(path) == decided


def test_a_cloud_that_refuses_what_people_are_to_see_is_asked_once(box: Box, cloud: Cloud) -> None:
    cloud.mode = "400"
    with box.serving() as served:
        answered = served.submit(ZERO, human_review="ALWAYS").json()
        assert answered["result"]["from_edge"] is True
        assert answered["done_processing"] is False
        wait_until_empty(served)
    assert cloud.posts == 2  # at once, and once from the queue, which drops it then


def test_a_query_sent_again_is_the_same_query(box: Box, cloud: Cloud) -> None:
    identity = new_image_query()
    with box.serving() as served:
        first = served.submit(ZERO, image_query_id=identity).json()
        assert first["id"] == identity
        assert served.submit(ZERO, image_query_id=identity).json() == first
        assert served.json("/device-api/v1/image-queries")["count"] == 1


def test_an_asynchronous_query_is_answered_later(box: Box, cloud: Cloud) -> None:
    with box.serving() as served:
        asked = served.submit(ZERO, want_async="True").json()
        assert asked["result"] is None
        path = f"/device-api/v1/image-queries/{asked['id']}"
        deadline = time.monotonic() + 20
        while (body := served.json(path))["result"] is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert body["result"]["label"] == "YES"
