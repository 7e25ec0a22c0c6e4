"""The Groundlight SDK, unchanged, against the endpoint with nothing but loopback in reach."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from groundlight import ApiException, ExperimentalApi, NotFoundError
from PIL import Image

from hardtack.demo.detectors import SAMPLES, Sample
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models

TOKEN = "api_" + "2" * 40


def jpeg(sample: Sample) -> bytes:
    """The sample's picture as the SDK sends pictures."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(sample.picture())).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def said(result: Any) -> str | int:
    """What a result of the SDK says, as `Sample.shows` has it."""
    found: str | int
    if hasattr(result, "count"):
        found = result.count
    elif hasattr(result, "text"):
        found = result.text
    else:
        found = getattr(result.label, "value", result.label)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    directory = tmp_path_factory.mktemp("endpoint")
    models = write_models(directory)
    detectors = write_detectors(directory / "detectors.yaml")
    with endpoint(directory, models, detectors) as running:
        yield running


@pytest.fixture(scope="module")
def sdk(served: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> ExperimentalApi:
    return ExperimentalApi(endpoint=served.url, api_token=TOKEN)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.name)
def test_each_sample_is_answered_from_the_edge(sdk: ExperimentalApi, sample: Sample) -> None:
    query = sdk.submit_image_query(sample.id, jpeg(sample), wait=0)
    assert query.result.from_edge is True
    assert query.result.confidence > 0.5
    if sample.task == "boxes":
        assert query.result.label == "BOUNDING_BOX"
        assert len(query.rois) == sample.shows
    else:
        assert said(query.result) == sample.shows


def test_detectors_are_found_by_id_name_and_list(sdk: ExperimentalApi) -> None:
    sample = SAMPLES[0]
    assert sdk.get_detector(sample.id).name == sample.name
    assert sdk.get_detector_by_name(sample.name).id == sample.id
    assert {d.id for d in sdk.list_detectors(page_size=20).results} == {s.id for s in SAMPLES}
    assert len(sdk.list_detectors(page=3, page_size=4).results) == 1


@pytest.mark.parametrize("what", ["detectors", "image-queries"])
def test_each_page_of_a_list_names_those_beside_it(
    served: Endpoint, sdk: ExperimentalApi, what: str
) -> None:
    for _ in range(3):
        sdk.ask_ml(SAMPLES[4].id, jpeg(SAMPLES[4]))
    first = f"{served.url}/device-api/v1/{what}?page_size=2&page=1"
    seen: list[str] = []
    before, url = None, first
    while url:
        page = served.json(url.removeprefix(served.url))
        assert page["previous"] == before
        seen += [one["id"] for one in page["results"]]
        before, url = url, page["next"]
    assert len(seen) == len(set(seen)) == page["count"] >= 3
    found = sdk.list_detectors if what == "detectors" else sdk.list_image_queries
    assert str(found(page=1, page_size=2).next).endswith("page=2")


def test_what_is_the_clouds_alone_is_refused_by_name(sdk: ExperimentalApi) -> None:
    with pytest.raises(ApiException) as told:
        sdk.add_label(sdk.ask_ml(SAMPLES[5].id, jpeg(SAMPLES[5])), "YES")
    assert "POST /device-api/v1/labels is not answered by this box" in told.value.body
    with pytest.raises(ApiException) as refused:
        sdk.create_detector("new", "Is it new?", confidence_threshold=0.9)
    assert refused.value.status == 405
    assert "--upstream" in refused.value.body


def test_an_unknown_detector_is_not_found(sdk: ExperimentalApi) -> None:
    with pytest.raises(NotFoundError):
        sdk.get_detector("det_" + "9" * 27)


def test_a_query_is_kept_with_its_picture(sdk: ExperimentalApi) -> None:
    sample = SAMPLES[4]
    picture = jpeg(sample)
    query = sdk.submit_image_query(sample.id, picture, wait=0, metadata={"line": "7"})
    again = sdk.get_image_query(query.id)
    assert again.result.label == query.result.label == sample.shows
    assert again.metadata["line"] == "7"
    with sdk.get_image(query.id) as stored:
        assert stored.read() == picture
    assert query.id in {q.id for q in sdk.list_image_queries(page_size=50).results}


def test_ask_confident_and_ask_ml(sdk: ExperimentalApi) -> None:
    sample = SAMPLES[5]
    assert sdk.ask_ml(sample.id, jpeg(sample)).result.from_edge is True
    confident = sdk.ask_confident(sample.id, jpeg(sample), confidence_threshold=0.5, wait=2)
    assert confident.result.label == sample.shows


def test_readiness_of_every_detector(sdk: ExperimentalApi) -> None:
    assert sdk.edge.get_detector_readiness() == {s.id: True for s in SAMPLES}
