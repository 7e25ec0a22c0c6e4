"""A box and its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Box
from tests.support.s3 import S3Server, s3_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with s3_server(tmp_path / "s3") as running:
        running.create_bucket("weights")
        yield running


@pytest.fixture
def box(tmp_path: Path, server: S3Server) -> Box:
    return Box(tmp_path, server)
