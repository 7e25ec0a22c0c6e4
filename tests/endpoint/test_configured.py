"""An edge configuration that is set while the box runs holds at once, and after a restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardtack.endpoint.inforce import InForce
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


def test_an_edit_of_the_file_holds_at_once_and_after_a_restart(tmp_path: Path) -> None:
    with running(Cloud()) as cloud:
        box = Box(tmp_path, cloud)
        with box.serving(config=ANSWERING) as served:
            assert served.ask("PUT", "/edge-config", preset("no_cloud")).status == 200
            (tmp_path / "edge.yaml").write_bytes(preset("disabled"))
            until(lambda: served.submit(ZERO).json()["result"]["from_edge"] is False)
        with box.serving(config=preset("disabled").decode(), ready=False) as served:
            assert served.submit(ZERO).json()["result"]["from_edge"] is False


def test_a_bad_edit_is_told_with_its_place_and_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given, kept = tmp_path / "edge.yaml", tmp_path / "kept.yaml"
    given.write_bytes(preset("no_cloud"))
    in_force = InForce(given, kept)
    before = in_force.now
    assert not in_force.look()
    given.write_text(f"detectors:\n- {{detector_id: {ZERO.id}, edge_inference_config: no_clud}}\n")
    for _ in range(4):
        assert not in_force.look()
    assert in_force.now == before
    (told,) = [record.message for record in caplog.records]
    assert told.startswith(f"{given}:2:") and "Did you mean 'no_cloud'?" in told
    given.unlink()
    assert not in_force.look()  # as between an editor's two steps
    given.write_bytes(preset("disabled"))
    assert [in_force.look() for _ in range(3)] == [False, True, False]
    assert not in_force.now.of(ZERO.id).enabled


def test_a_file_that_is_being_written_is_no_edit(tmp_path: Path) -> None:
    """Copied over a slow link it is empty first, then there by halves."""
    given, kept = tmp_path / "edge.yaml", tmp_path / "kept.yaml"
    given.write_bytes(preset("no_cloud"))
    in_force = InForce(given, kept)
    before = in_force.now
    whole = preset("disabled")
    for written in (b"", b"", b"# by hand\n", b"# by hand\n" + whole[:10]):
        given.write_bytes(written)
        assert not in_force.look()
    assert in_force.now == before
    given.write_bytes(whole)
    assert [in_force.look(), in_force.look()] == [False, True]


def test_a_file_that_comes_after_the_start_goes_behind_what_was_kept(tmp_path: Path) -> None:
    given, kept = tmp_path / "edge.yaml", tmp_path / "kept.yaml"
    kept.write_bytes(preset("no_cloud"))
    in_force = InForce(given, kept)
    before = in_force.now
    given.write_bytes(preset("disabled"))  # as of a mount that comes late
    assert not any(in_force.look() for _ in range(3))
    assert in_force.now == before and kept.exists()


def test_what_is_set_after_an_edit_stays_though_the_edit_is_seen_later(tmp_path: Path) -> None:
    given, kept = tmp_path / "edge.yaml", tmp_path / "kept.yaml"
    given.write_bytes(preset("default"))
    in_force = InForce(given, kept)
    given.write_bytes(preset("disabled"))
    assert not in_force.look()  # once
    in_force.put(preset("no_cloud").decode())
    set_last = in_force.now
    assert not any(in_force.look() for _ in range(3))
    assert in_force.now == set_last and kept.exists()
    given.write_bytes(preset("default"))
    assert [in_force.look(), in_force.look()] == [False, True]
    assert in_force.now != set_last and not kept.exists()


def test_an_edit_that_the_disk_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, kept = tmp_path / "edge.yaml", tmp_path / "kept.yaml"
    given.write_bytes(preset("no_cloud"))
    in_force = InForce(given, kept)
    in_force.put(preset("no_cloud").decode())
    given.write_bytes(preset("disabled"))
    assert not in_force.look()

    def refuse(path: Path, *, missing_ok: bool) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="Read-only"):
        patched.setattr(Path, "unlink", refuse)
        in_force.look()
    assert in_force.look()
    assert not in_force.now.of(ZERO.id).enabled


def test_a_file_that_the_kept_one_goes_before_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given, kept = tmp_path / "edge.yaml", tmp_path / "kept.yaml"
    given.write_bytes(preset("no_cloud"))
    InForce(given, kept).put(preset("no_cloud").decode())
    InForce(given, kept)
    assert not caplog.records  # they say the same
    given.write_bytes(preset("disabled"))
    assert InForce(given, kept).now.of(ZERO.id).enabled
    assert str(given) in caplog.text and str(kept) in caplog.text
