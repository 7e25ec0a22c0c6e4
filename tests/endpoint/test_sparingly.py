"""What fails with each image query is told now and then."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hardtack.endpoint import ids
from hardtack.endpoint.sparingly import Sparingly
from hardtack.endpoint.store import Kept, Store


def test_one_line_in_a_minute_says_how_many_there_were(caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    trouble = Sparingly(logging.getLogger("of this test"), lambda: now)
    for second in range(130):
        now = 1000.0 + second
        trouble.error(f"number {second} is lost: the disk is full")
    assert [record.message for record in caplog.records] == [
        "number 0 is lost: the disk is full",
        "number 60 is lost: the disk is full (59 more since the last such line)",
        "number 120 is lost: the disk is full (59 more since the last such line)",
    ]


def test_a_store_that_keeps_nothing_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    (tmp_path / "images").rmdir()
    for _ in range(5):
        body = {"id": ids.new_image_query(), "detector_id": "det", "result": None}
        assert "No such file" in store.add(Kept(body, b"picture", "image/png", 1.0))
    assert store.lost == 5
    assert len(caplog.records) == 1
    store.close()
