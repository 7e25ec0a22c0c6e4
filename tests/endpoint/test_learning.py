"""Detectors that the cloud describes: the box knows what is changed of them, and keeps it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from groundlight import ExperimentalApi, NotFoundError

from tests.endpoint.test_escalation import ZERO, Box
from tests.endpoint.test_sdk import TOKEN
from tests.support.clouds import UNKNOWN, Cloud, running
from tests.support.endpoints import Endpoint

OFTEN = "global_config: {refresh_rate: 1}"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running(Cloud()) as up:
        yield up


def threshold(served: Endpoint, expected: float) -> None:
    """Return when the box has it of the cloud's detector. Raises TimeoutError."""
    deadline = time.monotonic() + 20
    while served.json(f"/v1/detectors/{UNKNOWN}")["confidence_threshold"] != expected:
        if time.monotonic() > deadline:
            raise TimeoutError(served.json(f"/v1/detectors/{UNKNOWN}"))
        time.sleep(0.1)


def test_what_the_cloud_changes_holds_here_and_is_kept(tmp_path: Path, cloud: Cloud) -> None:
    box = Box(tmp_path, cloud)
    with box.serving(config=OFTEN) as served:
        threshold(served, 0.75)
        cloud.detectors[UNKNOWN]["confidence_threshold"] = 0.25
        threshold(served, 0.25)
        cloud.mode = "404"  # it says nothing of the detector any more: what it said stays
        asked = len(cloud.asked)
        while len(cloud.asked) < asked + 3:
            time.sleep(0.05)
        threshold(served, 0.25)
        assert served.log.read_text().count(f"{UNKNOWN}: 404, as told") == 1
    cloud.mode = "500"
    with box.serving(config=OFTEN) as served:
        threshold(served, 0.25)


def test_what_is_changed_through_the_box_it_knows_at_once(tmp_path: Path, cloud: Cloud) -> None:
    with Box(tmp_path, cloud).serving() as served:
        sdk = ExperimentalApi(endpoint=served.url, api_token=TOKEN)
        assert sdk.get_detector(UNKNOWN).status.value == "ON"
        sdk.update_detector_confidence_threshold(UNKNOWN, 0.5)
        sdk.update_detector_name(UNKNOWN, "renamed")
        sdk.update_detector_status(UNKNOWN, False)
        found = sdk.get_detector_by_name("renamed")
        assert (found.id, found.confidence_threshold) == (UNKNOWN, 0.5)
        assert found.status.value == "OFF"
        sdk.delete_detector(UNKNOWN)
        with pytest.raises(NotFoundError):
            sdk.get_detector(UNKNOWN)
        assert {d.id for d in sdk.list_detectors().results} == {ZERO.id}
