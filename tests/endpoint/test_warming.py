"""Weights are read ahead from the first moment on, of the detectors that will be served."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.warming import ahead
from tests.support.endpoints import write_detectors, write_models

_FOUR = SAMPLES[:4]


class _Told(io.FileIO):
    """A file that tells what is read of it."""

    read_of: ClassVar[dict[str, int]] = {}

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.read_of[str(self.name)] = self.read_of.get(str(self.name), 0) + len(data)
        return data


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    opening = Path.open

    def unbuffered(self: Path, mode: str = "r", buffering: int = -1, **others: Any) -> Any:
        plain = buffering or self.suffix != ".onnx"
        return opening(self, mode, buffering, **others) if plain else _Told(str(self), "r")

    monkeypatch.setattr(Path, "open", unbuffered)
    _Told.read_of.clear()


def _read(models: Path, detector: str) -> bool:
    """Whether all of its weights were read."""
    files = (models / detector).rglob("*.onnx")
    return all(_Told.read_of.get(str(path)) == path.stat().st_size for path in files)


def test_it_begins_with_the_files_alone_and_leaves_the_disabled(tmp_path: Path) -> None:
    models = write_models(tmp_path, _FOUR)
    detectors = write_detectors(tmp_path / "detectors.yaml", _FOUR)
    *wanted, off = [sample.id for sample in _FOUR]
    told = [{"detector_id": off, "edge_inference_config": "disabled"}]
    config = tmp_path / "edge.yaml"
    config.write_text(yaml.safe_dump({"detectors": told}))
    warming = ahead(models, detectors, config, tmp_path / "state")
    deadline = time.monotonic() + 20
    while not all(_read(models, one) for one in wanted) and time.monotonic() < deadline:
        time.sleep(0.02)
    warming.close()
    assert [_read(models, one) for one in [*wanted, off]] == [True, True, True, False]


def test_files_that_cannot_be_read_yet_leave_it_to_those_who_tell(tmp_path: Path) -> None:
    models = write_models(tmp_path, _FOUR)
    warming = ahead(models, tmp_path / "none.yaml", None, tmp_path / "state")
    warming.want([_FOUR[0].id])
    deadline = time.monotonic() + 20
    while not _read(models, _FOUR[0].id) and time.monotonic() < deadline:
        time.sleep(0.02)
    warming.close()
    assert _read(models, _FOUR[0].id)
