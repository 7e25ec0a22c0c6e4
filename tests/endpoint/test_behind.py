"""What is written behind an answer: there for whoever asks, and never more than it may be."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hardtack.endpoint import behind as behind_module
from hardtack.endpoint import ids
from hardtack.endpoint.behind import Behind
from hardtack.endpoint.store import Kept, Store
from tests.support.waiting import until

DETECTOR = "det_" + "0" * 27


def query(picture: bytes = b"picture") -> Kept:
    body = {"id": ids.new_image_query(), "detector_id": DETECTOR, "result": {"confidence": 0.9},
            "metadata": {}, "done_processing": True}  # fmt: skip
    return Kept(body, picture, "image/png", 1.0, 0.01)


class Slow:
    """Writes when it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.written: list[list[int]] = []

    def __call__(self, some: Sequence[int]) -> None:
        assert self.let.wait(30)
        self.written.append(list(some))


def test_many_are_written_together_and_in_order() -> None:
    slow = Slow()
    behind = Behind(slow, 1000)
    behind.put("0", 0, 1)
    for number in range(1, 100):
        behind.put(str(number), number, 1)
    slow.let.set()
    behind.close()
    assert [number for some in slow.written for number in some] == list(range(100))
    assert len(slow.written) <= 4 and max(map(len, slow.written)) <= 64


def test_it_is_waited_for_one_and_for_all() -> None:
    slow = Slow()
    behind = Behind(slow, 1000)
    behind.settle()
    behind.put("a", 1, 1)
    behind.settle("another")
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(behind.settle, "a"), pool.submit(behind.settle)]
        assert not any(wait.done() for wait in waits)
        slow.let.set()
        for wait in waits:
            wait.result(30)
    assert slow.written == [[1]]
    behind.close()


def test_they_gather_until_somebody_waits_or_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind_module, "_GATHERING", 3600)
    written: list[list[int]] = []
    behind = Behind[int](lambda some: written.append(list(some)), 1000)
    for number in range(3):
        behind.put(str(number), number, 1)
    assert written == []
    behind.settle("0")
    assert written == [[0, 1, 2]]
    behind.put("half of all that may wait", 3, 500)
    until(lambda: written[1:] == [[3]])
    for number in range(64):
        behind.put(str(number), number, 1)
    until(lambda: written[2:] == [list(range(64))])
    behind.put("last", 4, 1)
    behind.close()
    assert written[3:] == [[4]]


def test_no_more_wait_than_may() -> None:
    slow = Slow()
    behind = Behind(slow, 100)
    behind.put("large", 1, 1000)  # one that is larger than all may be is let in alone
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(behind.put, "small", 2, 1)
        assert not second.done()
        slow.let.set()
        second.result(30)
    behind.close()
    assert slow.written == [[1], [2]]


def test_what_fails_is_told_and_nobody_waits_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    def fail(some: Sequence[int]) -> None:
        raise ZeroDivisionError

    behind = Behind(fail, 100)
    behind.put("a", 1, 1)
    behind.settle()
    behind.close()
    assert "1 are not written" in caplog.text and "ZeroDivisionError" in caplog.text


def test_whoever_asks_finds_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(50):

        def kept_behind() -> Kept:
            store.add_behind(kept := query())
            return kept

        kept = kept_behind()
        assert store.get(kept.id) == kept.body
        kept = kept_behind()
        assert store.picture(kept.id) == (b"picture", "image/png")
        kept = kept_behind()
        assert store.listed(1, 1) == (4 * number + 3, [kept.body])
        kept = kept_behind()
        store.change({**kept.body, "result": {"confidence": 0.2}})
        assert store.confidences(DETECTOR, 1) == [(0.2, 0.01)]
    store.close()


def test_all_of_it_is_there_after_the_end(tmp_path: Path) -> None:
    store = Store(tmp_path)
    every = [query(bytes(10_000)) for _ in range(200)]
    for kept in every:
        store.add_behind(kept)
    store.close()
    again = Store(tmp_path)
    assert all(again.get(kept.id) == kept.body for kept in every)
    again.close()


def refusing(monkeypatch: pytest.MonkeyPatch, refused: Callable[[Path], bool], number: int) -> None:
    """The disk takes no picture that is `refused`, which `number` says why."""
    write = Path.write_bytes

    def refuse(path: Path, data: bytes) -> int:
        if path.parent.name == "images" and refused(path):
            raise OSError(number, os.strerror(number))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)


def together(store: Store, some: Sequence[Kept]) -> None:
    with store._lock:
        for kept in some:
            store.add_behind(kept)


def test_one_that_cannot_be_kept_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    bad, others = query(), [query() for _ in range(20)]
    refusing(monkeypatch, lambda path: path.name == bad.id, errno.EIO)
    together(store, [*others[:10], bad, *others[10:]])
    assert store.listed(1, 1)[0] == 20
    assert all(store.get(kept.id) for kept in others)
    assert store.lost == 1 and bad.id in caplog.text
    store.close()


def test_of_one_that_comes_twice_the_first_stands(tmp_path: Path) -> None:
    """A caller who was not patient asks again, by the same id."""
    store = Store(tmp_path)
    first = query(b"first")
    again = Kept({**first.body, "result": {"confidence": 0.2}}, b"again", "image/png", 2.0)
    store.add_behind(first)
    assert store.listed(1, 1)[0] == 1
    together(store, [query(), again, query()])
    assert store.get(first.id) == first.body
    assert store.picture(first.id) == (b"first", "image/png")
    assert not store.add(again)
    assert store.listed(1, 1)[0] == 3
    assert store.picture(first.id) == (b"first", "image/png")
    assert store.lost == 0
    store.close()


def test_a_full_disk_makes_room_behind_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    for _ in range(20):
        assert not store.add(query())
    full = threading.Event()

    def once(_: Path) -> bool:
        before = full.is_set()
        full.set()
        return not before

    refusing(monkeypatch, once, errno.ENOSPC)
    store.add_behind(query())
    until(full.is_set)
    assert store.listed(1, 1)[0] == 21  # the second try, alone, was let
    assert store.lost == 0
    store.close()


def test_what_comes_after_the_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    slow = Slow()
    slow.let.set()
    behind = Behind(slow, 10)
    behind.close()
    behind.put("late", 1, 1000)
    behind.settle()
    assert slow.written == [] and "late isn't written" in caplog.text


def test_a_body_that_nothing_can_keep_costs_no_other(tmp_path: Path) -> None:
    """As a cloud may answer: a number beyond any column, half of a letter."""
    store = Store(tmp_path)
    others = [query() for _ in range(4)]
    sound = query().body
    large = Kept({**sound, "result": {"confidence": 10**30}}, b"", "image/png", 1.0)
    torn = Kept({**query().body, "detector_id": "\ud800"}, b"", "image/png", 1.0)
    together(store, [*others[:2], large, torn, *others[2:]])
    assert store.listed(1, 1)[0] == 4
    assert store.lost == 2
    store.close()


def test_a_picture_that_the_disk_will_not_drop_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the bound, each query drops old ones; what was just kept stays kept."""
    store = Store(tmp_path, most=10)
    for _ in range(10):
        assert not store.add(query())

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(117, "Structure needs cleaning")

    monkeypatch.setattr(Path, "unlink", refuse)
    for _ in range(10):
        kept = query()
        assert not store.add(kept)
        assert store.picture(kept.id) == (b"picture", "image/png")
    assert store.listed(1, 1)[0] == 10 and store.lost == 0
    store.close()


def test_a_table_that_forgets_nothing_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path, most=10)
    store._db.execute(
        "CREATE TRIGGER never BEFORE DELETE ON image_queries"
        " BEGIN SELECT RAISE(ABORT, 'never'); END"
    )
    for _ in range(12):
        assert not store.add(query())
    assert store.listed(1, 1)[0] == 12
    assert "can't be forgotten: never" in caplog.text
    store.close()
