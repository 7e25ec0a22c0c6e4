"""A start that waits says for what."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from pathlib import Path

import pytest

from hardtack.endpoint.waiting import waiting_for
from tests.endpoint.test_rollout import DIGIT
from tests.support.commands import HARDTACK, clean_environment
from tests.support.endpoints import endpoint, write_detectors, write_models
from tests.support.waiting import until


def test_what_takes_long_is_told_again_and_again_and_no_more_after_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with waiting_for("the tide", after=0.01, every=0.01):
        until(lambda: len(caplog.messages) >= 3, lambda: caplog.messages)
    assert {m.partition(", for")[0] for m in caplog.messages} == {"Waiting for the tide"}
    assert {r.levelno for r in caplog.records} == {logging.WARNING}
    until(lambda: not [t for t in threading.enumerate() if t.name == "waiting"], lambda: "thread")


def test_a_start_names_where_it_looks(tmp_path: Path) -> None:
    models = write_models(tmp_path, [DIGIT])
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    with endpoint(tmp_path, models, detectors) as served:
        said = served.log.read_text()
    assert f"The endpoint starts. Models: {models}; cloud: none" in said
    assert "no detector" not in said
    empty = tmp_path / "empty.yaml"
    empty.touch()
    with endpoint(tmp_path, models, empty) as served:
        assert "knows no detector" in served.log.read_text()


def test_a_mount_that_hangs_at_the_start_is_named(tmp_path: Path) -> None:
    """A model.toml that never opens stands in for a mount whose source never answers."""
    package = write_models(tmp_path, [DIGIT]) / DIGIT.id / "primary/1"
    (package / "model.toml").unlink()
    os.mkfifo(package / "model.toml")
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    process = subprocess.Popen(
        [*HARDTACK, "endpoint", "serve", "--models", str(tmp_path / "models"), "--detectors",
         str(detectors), "--state", str(tmp_path / "state"), "--port", "0"],
        env=clean_environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "Waiting for" in line)
        assert f"the models in {tmp_path / 'models'}" in told
    finally:
        process.kill()
        process.communicate()


def test_a_models_directory_that_isnt_there_is_named_and_waited_for(tmp_path: Path) -> None:
    models = write_models(tmp_path, [DIGIT])
    away = models.rename(tmp_path / "away")
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    process = subprocess.Popen(
        [*HARDTACK, "endpoint", "serve", "--models", str(models), "--detectors",
         str(detectors), "--state", str(tmp_path / "state"), "--port", "0"],
        env=clean_environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        told = next((line for line in process.stderr if "can't be listed" in line), "")
        assert f"{models} can't be listed: No such file or directory" in told
        assert "Mount it, correct --models" in told
        away.rename(models)
        assert any("The endpoint listens" in line for line in process.stderr)
    finally:
        process.kill()
        process.communicate()
