"""The project's own small models, as a detector's directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import hardtack.demo

Place = Callable[..., Path]
MODELS = Path(hardtack.demo.__file__).parent / "models"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Copies a sample's package to `<directory>/<role>/<version>`; returns that package."""

    def copy(sample: str, detector: str = "det_x", role: str = "primary", version: str = "1"
             ) -> Path:  # fmt: skip
        return Path(shutil.copytree(MODELS / sample, tmp_path / detector / role / version))

    return copy
