"""What the box keeps is bounded: the queue in bytes and age, image queries in number and bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint import ids
from hardtack.endpoint.outbox import Entry, Outbox
from hardtack.endpoint.store import Kept, Store

ZERO = SAMPLES[5]
PUTTING = """
import sys
from pathlib import Path
from hardtack.endpoint import ids
from hardtack.endpoint.outbox import Entry, Outbox

outbox = Outbox(Path(sys.argv[1]))
while True:
    identity = ids.new_image_query()
    outbox.put(Entry(identity, False, {}, "image/png", bytes(5000)))
    print(identity, flush=True)
"""


def entry(size: int, *, audit: bool = False) -> Entry:
    return Entry(ids.new_image_query(), audit, {}, "image/png", bytes(size))


def waiting(outbox: Outbox) -> list[str]:
    """The ids in the order of delivery."""
    found: list[str] = []
    while one := outbox.first(besides=found):
        found.append(one.id)
    return found


def dropped(outbox: Outbox) -> dict[str, int]:
    return {name: count for name, count in outbox.status()["dropped"].items() if count}


def test_a_full_queue_drops_the_oldest_audits_first_and_counts_each(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "queue.sqlite", most_bytes=1000)
    first, audit, later, second = (
        entry(300),
        entry(300, audit=True),
        entry(300, audit=True),
        entry(300),
    )
    for one in (first, audit, later):
        assert outbox.put(one)
    assert outbox.put(second)
    assert waiting(outbox) == [first.id, later.id, second.id]
    assert dropped(outbox) == {"full_audit": 1}
    third, fourth = entry(300), entry(300)
    assert outbox.put(third)
    assert outbox.put(fourth)
    assert waiting(outbox) == [second.id, third.id, fourth.id]
    assert dropped(outbox) == {"full_audit": 2, "full_escalation": 1}
    assert not outbox.put(entry(300, audit=True))  # it is worth less than what is there
    assert not outbox.put(entry(1001))
    assert outbox.status()["bytes"] == 900
    outbox.close()
    again = Outbox(tmp_path / "queue.sqlite", most_bytes=1000)
    assert dropped(again) == {"full_audit": 3, "full_escalation": 2}
    assert waiting(again) == [second.id, third.id, fourth.id]
    again.close()


def test_one_id_is_queued_once(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "queue.sqlite")
    one = entry(300)
    assert outbox.put(one) and outbox.put(one)
    assert outbox.status()["size"] == 1
    outbox.close()


def test_age_goes_on_over_restarts(tmp_path: Path) -> None:
    for passed in (40.0, 19.0):
        outbox = Outbox(tmp_path / "queue.sqlite", most_seconds=60)
        outbox.put(entry(300, audit=passed < 40))
        outbox.passed(passed)
        outbox.close()
    outbox = Outbox(tmp_path / "queue.sqlite", most_seconds=60)
    assert outbox.status()["size"] == 2
    outbox.passed(2.0)
    assert dropped(outbox) == {"old_escalation": 1}
    outbox.passed(60.0)
    assert dropped(outbox) == {"old_escalation": 1, "old_audit": 1}
    outbox.close()


@pytest.mark.parametrize("lines", [1, 7, 60])
def test_what_was_put_is_there_after_a_kill_while_more_is_put(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "queue.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", PUTTING, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(lines)]
        process.kill()
        told += process.stdout.read().split()
    assert process.returncode == -9
    outbox = Outbox(path)
    found = waiting(outbox)
    assert found[: len(told)] == told
    assert len(found) <= len(told) + 1  # one may have been put and not yet told
    assert outbox.status()["bytes"] == 5000 * len(found)
    outbox.close()


@pytest.mark.parametrize("bound", [{"most": 40}, {"most_bytes": 40_000}])
def test_of_image_queries_the_oldest_go_with_their_pictures(
    tmp_path: Path, bound: dict[str, int]
) -> None:
    store = Store(tmp_path, **bound)
    sent = []
    for number in range(100):
        sent.append(ids.new_image_query())
        body = {"id": sent[-1], "detector_id": ZERO.id, "result": None}
        assert not store.add(Kept(body, bytes(1000), "image/png", float(number)))
    count, found = store.listed(1, 100)
    kept = [body["id"] for body in found]
    assert 36 <= count <= 40
    assert kept == sent[: -count - 1 : -1]
    assert {path.name for path in (tmp_path / "images").iterdir()} == set(kept)
    assert store.get(sent[0]) is None and store.picture(sent[0]) is None
    assert store.lost == 0
    store.close()
    again = Store(tmp_path, **bound)
    assert again.listed(1, 100)[0] == count
    again.close()
