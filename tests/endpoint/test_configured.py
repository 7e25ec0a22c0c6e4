"""An edge configuration that is set while the box runs holds at once, and after a restart."""

from __future__ import annotations

import json
from pathlib import Path

from tests.endpoint.test_escalation import ANSWERING, UNSURE, ZERO, Box, configured, queue
from tests.support.clouds import Cloud, running
from tests.support.endpoints import endpoint, write_detectors, write_models
from tests.support.waiting import until

ALONE = configured(always_return_edge_prediction=True, disable_cloud_escalation=True)


def preset(name: str) -> bytes:
    named = {"detector_id": ZERO.id, "edge_inference_config": name}
    return json.dumps({"detectors": [named]}).encode()


def test_what_is_set_holds_at_once_and_after_a_restart_with_the_old_file(tmp_path: Path) -> None:
    with running(Cloud()) as cloud:
        box = Box(tmp_path, cloud)
        with box.serving(config=ANSWERING) as served:
            assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is True
            cloud.wait_for(1)
            until(lambda: queue(served)["size"] == 0)
            told = served.ask("PUT", "/edge-config", ALONE.encode()).json()
            assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is True
            assert queue(served)["size"] == 0
        with box.serving(config=ANSWERING) as served:
            assert served.json("/edge-config") == told
            assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is True
            assert queue(served)["size"] == 0
            assert served.ask("PUT", "/edge-config", preset("default")).status == 200
            assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is False
        assert cloud.posts == 2


def test_a_disabled_detector_is_the_clouds_and_has_no_server(tmp_path: Path) -> None:
    with running(Cloud()) as cloud, Box(tmp_path, cloud).serving() as served:
        assert served.ask("PUT", "/edge-config", preset("disabled")).status == 200
        answered = served.submit(ZERO).json()
        assert answered["result"]["from_edge"] is False
        until(lambda: not served.json("/edge-detector-readiness")[ZERO.id]["ready"])
        assert served.json("/health/ready") == {"ready": True, "waiting": {}}
        cloud.mode = "500"
        refused = served.submit(ZERO)
        assert refused.status == 503 and refused.headers["retry-after"]
        assert served.ask("PUT", "/edge-config", preset("default")).status == 200
        served.wait_ready()
        assert served.submit(ZERO).json()["result"]["from_edge"] is True


def test_a_disabled_detector_of_a_box_alone_says_so(tmp_path: Path) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    config = tmp_path / "edge.yaml"
    config.write_bytes(preset("disabled"))
    with endpoint(tmp_path, models, detectors, "--config", str(config)) as served:
        refused = served.submit(ZERO)
        assert refused.status == 503 and refused.headers["retry-after"]
        assert "disables" in refused.json()["detail"]
        assert served.json("/edge-info") == {"upstream_endpoint": ""}
