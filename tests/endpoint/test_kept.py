"""Image queries and their pictures are read after a restart, and after a kill, as before it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from groundlight import ExperimentalApi

from hardtack.demo.detectors import SAMPLES
from tests.endpoint.test_sdk import TOKEN, jpeg
from tests.support.endpoints import endpoint, write_detectors, write_models

ZERO = SAMPLES[5]


@pytest.mark.parametrize("killed", [False, True])
def test_the_sdk_reads_them_after_a_restart(tmp_path: Path, killed: bool) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    picture = jpeg(ZERO)
    with endpoint(tmp_path, models, detectors) as served:
        sdk = ExperimentalApi(endpoint=served.url, api_token=TOKEN)
        asked = [
            sdk.submit_image_query(ZERO.id, picture, wait=0, metadata={"number": str(number)})
            for number in range(3)
        ]
        if killed:  # they are written behind their answers, in order: what was read once is kept
            sdk.get_image_query(asked[-1].id)
            served.process.send_signal(signal.SIGKILL)
            served.process.wait(30)
    with endpoint(tmp_path, models, detectors, ready=False) as served:
        sdk = ExperimentalApi(endpoint=served.url, api_token=TOKEN)
        for one in asked:
            again = sdk.get_image_query(one.id)
            assert again.result == one.result
            assert again.metadata == one.metadata
            with sdk.get_image(one.id) as stored:
                assert stored.read() == picture
        told = served.json("/status/metrics.json")["detectors"][ZERO.id]
        assert [one["id"] for one in told["last"]][:3] == [one.id for one in reversed(asked)]
