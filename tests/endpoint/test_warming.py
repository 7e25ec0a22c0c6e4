"""Weights are read ahead from the first moment on, of the detectors that will be served."""

from __future__ import annotations

import os
import time
from pathlib import Path

import yaml

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.warming import ahead
from tests.support.endpoints import write_detectors, write_models

_FOUR = SAMPLES[:4]


def _read(models: Path, detector: str) -> bool:
    """Whether a byte of its weights was read since `_forget`."""
    files = (models / detector).rglob("*.onnx")
    return any(path.stat().st_atime_ns > path.stat().st_mtime_ns for path in files)


def _forget(models: Path) -> None:
    """Have a read show in the time of access, as `relatime` does after a write."""
    for path in models.rglob("*.onnx"):
        os.utime(path, ns=(10**18, 10**18))


def test_it_begins_with_the_files_alone_and_leaves_the_disabled(tmp_path: Path) -> None:
    models = write_models(tmp_path, _FOUR)
    detectors = write_detectors(tmp_path / "detectors.yaml", _FOUR)
    *wanted, off = [sample.id for sample in _FOUR]
    told = [{"detector_id": off, "edge_inference_config": "disabled"}]
    config = tmp_path / "edge.yaml"
    config.write_text(yaml.safe_dump({"detectors": told}))
    _forget(models)
    warming = ahead(models, detectors, config, tmp_path / "state")
    deadline = time.monotonic() + 20
    while not all(_read(models, one) for one in wanted) and time.monotonic() < deadline:
        time.sleep(0.02)
    warming.close()
    assert [_read(models, one) for one in [*wanted, off]] == [True, True, True, False]


def test_files_that_cannot_be_read_yet_leave_it_to_those_who_tell(tmp_path: Path) -> None:
    models = write_models(tmp_path, _FOUR)
    _forget(models)
    warming = ahead(models, tmp_path / "none.yaml", None, tmp_path / "state")
    warming.want([_FOUR[0].id])
    deadline = time.monotonic() + 20
    while not _read(models, _FOUR[0].id) and time.monotonic() < deadline:
        time.sleep(0.02)
    warming.close()
    assert _read(models, _FOUR[0].id)
