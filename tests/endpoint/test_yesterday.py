"""A state directory that an earlier version wrote opens, with all that it had."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from hardtack.core.errors import FormatError
from hardtack.endpoint.outbox import Outbox
from hardtack.endpoint.store import Store

FORMATS = sorted((Path(__file__).parent / "formats").glob("v[0-9]*"))
ZS = "det_" + "z" * 27


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "state"))


def test_yesterdays_queue_opens(state: Path) -> None:
    queue = Outbox(state / "queue.sqlite")
    assert queue.status()["size"] == 2
    first = queue.first()
    assert first is not None
    assert (first.id, first.audit, first.picture) == ("iq_" + "2" * 27, True, b"picture 2")
    assert first.parameters == {"detector_id": ZS, "image_query_id": first.id}
    queue.done(first.id)
    second = queue.first()
    assert second is not None and (second.id, second.audit) == ("iq_" + "1" * 27, False)
    queue.close()


def test_yesterdays_image_queries_open(state: Path) -> None:
    store = Store(state)
    count, (body,) = store.listed(1, 10)
    assert count == 1
    assert body["id"] == "iq_" + "1" * 27
    assert body["result"] == {"confidence": 0.75, "label": "YES", "from_edge": True}
    assert store.picture(body["id"]) == (b"a picture", "image/png")
    assert store.confidences(ZS) == [(0.75, 0.01)]
    store.close()


@pytest.mark.parametrize("name", ["queue.sqlite", "image-queries.sqlite"])
def test_tomorrows_is_left_alone(state: Path, name: str) -> None:
    db = sqlite3.connect(state / name)
    db.execute("PRAGMA user_version=2")
    db.close()
    before = (state / name).read_bytes()
    with pytest.raises(FormatError, match="format 2; this hardtack knows format 1"):
        if name == "queue.sqlite":
            Outbox(state / name)
        else:
            Store(state)
    assert (state / name).read_bytes() == before


def test_a_picture_that_a_kill_left_behind_is_removed(state: Path) -> None:
    (state / "images" / ("iq_" + "9" * 27)).write_bytes(b"left")
    Store(state).close()
    assert [path.name for path in (state / "images").iterdir()] == ["iq_" + "1" * 27]
