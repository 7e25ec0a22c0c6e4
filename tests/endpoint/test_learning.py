"""Detectors that the cloud describes: the box knows what is changed of them, and keeps it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from groundlight import ExperimentalApi, NotFoundError

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.detectors import MODES
from tests.endpoint.test_escalation import ZERO, Box
from tests.endpoint.test_outages import servers
from tests.endpoint.test_sdk import TOKEN
from tests.support.clouds import UNKNOWN, Cloud, detector, running
from tests.support.endpoints import Endpoint, endpoint, write_models
from tests.support.stopping import stop
from tests.support.waiting import until

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


def test_learnt_detectors_that_hang_hold_no_other_up(tmp_path: Path, cloud: Cloud) -> None:
    zero, shape, digit = samples = [ZERO, SAMPLES[7], SAMPLES[4]]
    models = write_models(tmp_path, samples)
    for sample in samples:
        cloud.detectors[sample.id] = detector(sample.id) | {"mode": MODES[sample.task]}
        cloud.detectors[sample.id]["mode_configuration"] = {"class_names": ["circle"]}
    empty = tmp_path / "detectors.yaml"
    empty.touch()
    env = {"GROUNDLIGHT_API_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
    with endpoint(tmp_path, models, empty, "--upstream", cloud.url, env=env, ready=False) as served:
        until(
            lambda: len(servers(served)) == 3 and served.ask("GET", "/health/ready").status == 200
        )
        hung = [servers(served)[sample.id] for sample in (zero, shape)]
        for one in hung:
            stop(one.pid)
        with ThreadPoolExecutor(34) as pool:
            asked = [[pool.submit(served.submit, s) for _ in range(17)] for s in (zero, shape)]
            until(lambda: all(any(one.done() for one in some) for some in asked))
            assert served.submit(digit, confidence_threshold="0").status == 200
            for some in asked:  # as many of each as may be are under way still
                assert [one.result().status for one in some if one.done()] == [429]
            for one in hung:
                one.send_signal(signal.SIGCONT)


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
