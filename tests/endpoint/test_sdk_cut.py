"""Every call of the SDK on a box whose cloud is away: all are answered, and from the edge."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from groundlight import ExperimentalApi
from groundlight.edge import (
    DEFAULT,
    EDGE_ANSWERS_WITH_ESCALATION,
    NO_CLOUD,
    EdgeEndpointConfig,
    InferenceConfig,
)

from hardtack.demo.detectors import SAMPLES, Sample
from tests.endpoint.test_sdk import TOKEN, jpeg
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.ports import free_port

MODES = {sample.task: sample for sample in SAMPLES}
"""A sample for each of the five modes."""
ZERO = SAMPLES[5]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A box with a cloud at a port where nobody listens."""
    directory = tmp_path_factory.mktemp("endpoint")
    samples = [*MODES.values(), ZERO]
    samples = [s for n, s in enumerate(samples) if s not in samples[:n]]
    models = write_models(directory, samples)
    detectors = write_detectors(directory / "detectors.yaml", samples)
    options = ("--upstream", f"http://127.0.0.1:{free_port()}", "--deadline", "1s")
    with endpoint(directory, models, detectors, *options, env={"NO_PROXY": "*"}) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(served: Endpoint) -> ExperimentalApi:
    return ExperimentalApi(endpoint=served.url, api_token=TOKEN)


@pytest.mark.parametrize("sample", MODES.values(), ids=lambda s: s.task)
def test_each_way_to_ask_is_answered_from_the_edge(sdk: ExperimentalApi, sample: Sample) -> None:
    picture = jpeg(sample)
    for query in (
        sdk.submit_image_query(sample.id, picture, wait=0),
        sdk.ask_ml(sample.id, picture),
        # Sure or not: there is nobody to ask, and the SDK waits no longer than it was told.
        sdk.ask_confident(sample.id, picture, confidence_threshold=0.999, wait=1),
    ):
        assert query.result.from_edge is True
        assert query.detector_id == sample.id
        assert sdk.get_image_query(query.id).result == query.result


@pytest.mark.parametrize("sample", MODES.values(), ids=lambda s: s.task)
def test_what_is_asked_asynchronously_is_answered_later(
    sdk: ExperimentalApi, sample: Sample
) -> None:
    asked = sdk.ask_async(sample.id, jpeg(sample))
    assert asked.result is None
    answered = sdk.wait_for_ml_result(asked.id, timeout_sec=60)
    assert answered.result.from_edge is True
    confident = sdk.wait_for_confident_result(asked.id, confidence_threshold=0.1, timeout_sec=60)
    assert confident.result == answered.result


def test_queries_and_their_pictures_are_listed_and_read(sdk: ExperimentalApi) -> None:
    picture = jpeg(ZERO)
    query = sdk.ask_ml(ZERO.id, picture)
    listed = sdk.list_image_queries(page_size=5, detector_id=ZERO.id)
    assert listed.results[0].id == query.id
    assert {found.detector_id for found in listed.results} == {ZERO.id}
    with sdk.get_image(query.id) as stored:
        assert stored.read() == picture


def test_detectors_are_read(sdk: ExperimentalApi) -> None:
    assert sdk.get_detector(ZERO.id).name == ZERO.name
    assert sdk.get_detector_by_name(ZERO.name).id == ZERO.id
    assert ZERO.id in {d.id for d in sdk.list_detectors(page_size=20).results}
    assert sdk.edge.get_detector_readiness()[ZERO.id] is True


@pytest.mark.parametrize("preset", [DEFAULT, EDGE_ANSWERS_WITH_ESCALATION, NO_CLOUD])
def test_an_edge_configuration_is_set_and_read_back(
    sdk: ExperimentalApi, served: Endpoint, preset: InferenceConfig
) -> None:
    """The SDK's own defaults among it: a rate of 1e-05, as JSON writes it."""
    config = EdgeEndpointConfig()
    config.add_detector(ZERO.id, preset)
    found = sdk.edge.set_config(config)
    assert [(d.detector_id, d.edge_inference_config) for d in found.detectors] == [
        (ZERO.id, preset.name)
    ]
    assert found.global_config.confident_audit_rate == 1e-5
    assert sdk.edge.get_config() == found
    assert sdk.ask_ml(ZERO.id, jpeg(ZERO)).result.from_edge is True


def test_the_clouds_address_is_told(sdk: ExperimentalApi, served: Endpoint) -> None:
    told = served.json("/edge-info")["upstream_endpoint"]
    assert sdk.edge.get_upstream_endpoint() == told
    assert told.startswith("http://127.0.0.1:")


def test_what_needs_the_cloud_says_so_at_once(served: Endpoint) -> None:
    body = json.dumps({"name": "new"}).encode()
    refused = served.ask("POST", "/device-api/v1/detectors", body)
    assert refused.status == 503
    assert "can't be reached" in refused.json()["detail"]
    assert refused.headers["retry-after"]
