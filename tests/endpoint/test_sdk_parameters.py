"""What an image query can ask for, with the SDK: each parameter does what its user expects."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from groundlight import ApiException, ExperimentalApi

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.ids import new_image_query
from tests.endpoint.test_escalation import Box
from tests.endpoint.test_sdk import TOKEN, jpeg
from tests.support.clouds import Cloud, running
from tests.support.endpoints import Endpoint

ZERO = SAMPLES[5]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with running(Cloud()) as up:
        yield up


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Iterator[Endpoint]:
    with Box(tmp_path_factory.mktemp("box"), cloud).serving() as running_box:
        yield running_box


@pytest.fixture(scope="module")
def sdk(served: Endpoint) -> ExperimentalApi:
    return ExperimentalApi(endpoint=served.url, api_token=TOKEN)


def test_the_threshold_asked_for_decides_who_answers(sdk: ExperimentalApi, cloud: Cloud) -> None:
    low = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, confidence_threshold=0.1)
    assert low.result.from_edge is True
    assert low.confidence_threshold == 0.1
    assert low.id not in cloud.received
    high = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, confidence_threshold=1.0)
    assert high.result.from_edge is False
    assert cloud.received[high.id]["confidence_threshold"] == "1.0"


def test_wait_takes_the_detectors_threshold_where_none_is_asked_for(sdk: ExperimentalApi) -> None:
    asked = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=10)
    assert asked.result.label == ZERO.shows
    assert asked.confidence_threshold == sdk.get_detector(ZERO.id).confidence_threshold == 0.5


def test_patience_is_kept_and_passed_on(sdk: ExperimentalApi, cloud: Cloud) -> None:
    own = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, patience_time=77)
    assert sdk.get_image_query(own.id).patience_time == 77
    asked = sdk.submit_image_query(
        ZERO.id, jpeg(ZERO), wait=0, patience_time=77, confidence_threshold=1.0
    )
    assert float(cloud.received[asked.id]["patience_time"]) == 77


def test_people_are_asked_always_or_never(sdk: ExperimentalApi, cloud: Cloud) -> None:
    sure = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, human_review="ALWAYS")
    assert sure.result.from_edge is False
    assert cloud.received[sure.id]["human_review"] == "ALWAYS"
    never = sdk.submit_image_query(
        ZERO.id, jpeg(ZERO), wait=0, human_review="NEVER", confidence_threshold=1.0
    )
    assert cloud.received[never.id]["human_review"] == "NEVER"  # its models may answer


def test_metadata_come_back_and_are_passed_on(sdk: ExperimentalApi, cloud: Cloud) -> None:
    metadata = {"line": 7, "wörk": "ü/+"}
    own = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, metadata=metadata)
    kept = sdk.get_image_query(own.id).metadata
    assert {name: kept[name] for name in metadata} == metadata
    asked = sdk.submit_image_query(
        ZERO.id, jpeg(ZERO), wait=0, metadata=metadata, confidence_threshold=1.0
    )
    told = base64.urlsafe_b64decode(cloud.received[asked.id]["metadata"])
    assert json.loads(told) == metadata
    with pytest.raises(ValueError, match="1024"):
        sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, metadata={"a": "b" * 1024})


def test_an_inspections_query_is_the_clouds(sdk: ExperimentalApi, cloud: Cloud) -> None:
    asked = sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, inspection_id="insp_1")
    assert cloud.received[asked.id]["inspection_id"] == "insp_1"
    assert asked.result.from_edge is False
    assert sdk.get_image_query(asked.id).result == asked.result


def test_the_callers_own_id_is_the_querys(sdk: ExperimentalApi, cloud: Cloud) -> None:
    for threshold in (0.1, 1.0):
        identity = new_image_query()
        for _ in range(2):
            asked = sdk.submit_image_query(
                ZERO.id, jpeg(ZERO), wait=0, image_query_id=identity,
                confidence_threshold=threshold,
            )  # fmt: skip
            assert asked.id == identity
        assert cloud.order.count(identity) == (threshold == 1.0)


def test_asynchronous_and_unsure_is_the_clouds_in_the_end(
    sdk: ExperimentalApi, cloud: Cloud
) -> None:
    asked = sdk.ask_async(ZERO.id, jpeg(ZERO), confidence_threshold=1.0)
    assert asked.result is None
    answered = sdk.wait_for_ml_result(asked.id, timeout_sec=60)
    assert answered.result.from_edge is False
    assert cloud.order.count(asked.id) == 1


def test_what_the_cloud_alone_can_do_is_refused_where_the_box_answers(
    sdk: ExperimentalApi, served: Endpoint
) -> None:
    alone = {
        "detectors": [{"detector_id": ZERO.id, "edge_inference_config": "no_cloud"}],
    }
    before = served.json("/edge-config")
    assert served.ask("PUT", "/edge-config", json.dumps(alone).encode()).status == 200
    for parameter, value in (("human_review", "ALWAYS"), ("inspection_id", "insp_1")):
        with pytest.raises(ApiException) as refused:
            sdk.submit_image_query(ZERO.id, jpeg(ZERO), wait=0, **{parameter: value})
        assert refused.value.status == 400
        assert "has this box answer" in refused.value.body
    assert served.ask("PUT", "/edge-config", json.dumps(before).encode()).status == 200


def test_who_calls_and_tokens_are_the_boxs_own(sdk: ExperimentalApi, served: Endpoint) -> None:
    assert sdk.whoami() == "edge@localhost"
    for prefix in ("", "/device-api"):
        me = served.json(f"{prefix}/v1/me")
        assert {"email", "username", "group", "is_superuser"} <= set(me)
        assert set(me["group"]) == {"id", "name"}
        assert served.ask("GET", f"{prefix}/v1/api-tokens/by-snippet/{TOKEN[:20]}").status == 404
        assert served.json(f"{prefix}/v1/detectors/{ZERO.id}")["id"] == ZERO.id
        assert served.json(f"{prefix}/edge-config") == served.json("/edge-config")
