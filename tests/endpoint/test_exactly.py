"""What JSON has no number or no character for is in nobody's way, whoever brought it."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint import exactly
from hardtack.endpoint.ids import new_image_query
from hardtack.endpoint.store import Kept, Store

DETECTOR = SAMPLES[5].id


def kept(metadata: dict[str, Any]) -> Kept:
    body = {"id": new_image_query(), "detector_id": DETECTOR, "result": None, "metadata": metadata}
    return Kept(body, b"picture", "image/png", time.time())


@pytest.mark.parametrize("text", ["NaN", "[-Infinity]", '{"a": 1e999}', r'"\ud800"', "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exactly.loads(text.encode())


def test_json_is_read_as_it_stands() -> None:
    value = {"a": [1, 2.5, None, True], "wörk": "ü/+ \U0001f980"}
    assert exactly.loads(json.dumps(value).encode()) == value
    assert json.loads(bytes(exactly.Json(value).body)) == value


def test_half_a_character_is_written_all_the_same() -> None:
    assert json.loads(bytes(exactly.Json({"text": "\ud800"}).body)) == {"text": "\ud800"}


def test_a_body_that_json_can_not_hold_is_lost_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    good = [kept({"a": 1}), kept({"a": 2})]
    for one in (good[0], kept({"a": float("nan")}), good[1]):
        store.add_behind(one)
    assert [body["id"] for body in store.listed(1, 10)[1]] == [good[1].id, good[0].id]
    store.change({**good[0].body, "metadata": {"a": float("inf")}})
    assert store.get(good[0].id) == good[0].body
    assert store.lost == 2
    store.close()


def test_one_that_an_earlier_version_kept_is_in_no_lists_way(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add(kept({"a": 1}))
    store.close()
    with sqlite3.connect(tmp_path / "image-queries.sqlite") as db:
        db.execute("UPDATE image_queries SET body = replace(body, '1}', 'NaN}')")
    db.close()
    store = Store(tmp_path)
    (body,) = store.listed(1, 10)[1]
    assert body["metadata"] == {"a": None}
    assert exactly.Json(body).body
    store.close()
