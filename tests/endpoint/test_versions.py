"""Which version is served next, and what is kept of that."""

from __future__ import annotations

from pathlib import Path

from hardtack.endpoint.backends import record
from hardtack.endpoint.backends.versions import Seen, Version, first, following, look
from hardtack.inference.package import Package, Weights

YESTERDAY = Path(__file__).with_name("formats") / "versions-1.json"


def version(number: int, *, arrived: bool = True, text: str = "") -> Version:
    package = Package(
        Path("models/det_x/primary") / str(number), "binary", ("YES", "NO"),
        (Weights("a", 10, ""),), None, text=text,
    )  # fmt: skip
    return Version(package, None, (10 if arrived else 3, 10))


def seen(*versions: Version) -> Seen:
    return Seen(versions, frozenset(int(v.primary.version) for v in versions))


def test_a_box_begins_with_what_served_last_then_with_what_is_there() -> None:
    five, four, three = version(5, arrived=False), version(4), version(3)
    every = seen(five, four, three)
    assert first(every, three.identity, ()) == three
    assert first(every, "", ()) == four
    assert first(every, "", (four.identity,)) == three
    assert first(seen(five), "", ()) == five
    assert first(every, five.identity, ()) == four  # it has gone from the disk
    assert first(seen(four), "", (four.identity,)) == four  # better than nothing
    assert first(seen(), "", ()) is None


def test_a_higher_one_follows_and_a_lower_one_only_when_the_serving_one_was_taken_away() -> None:
    four, three = version(4), version(3)
    assert following(seen(four, three), three.identity, ()) == four
    assert following(seen(four, three), three.identity, (four.identity,)) is None
    assert following(seen(four, three), four.identity, ()) is None
    assert following(Seen((three,), frozenset({4, 3})), four.identity, ()) is None
    assert following(seen(three), four.identity, ()) == three
    assert following(Seen(problem="the mount does not answer"), four.identity, ()) is None


def test_one_published_anew_under_its_number_is_another() -> None:
    old, new = version(4, text="a"), version(4, text="b")
    assert following(seen(new), old.identity, ()) == new
    assert following(seen(new), old.identity, (new.identity,)) is None
    assert old.label == new.label == "4"


def test_without_a_directory_there_is_a_reason(tmp_path: Path) -> None:
    assert "can't be listed" in look(tmp_path / "det_x").problem
    (tmp_path / "det_x/primary").mkdir(parents=True)
    assert "no whole version" in look(tmp_path / "det_x").problem


def test_yesterdays_record_is_read_and_a_damaged_one_left_aside(tmp_path: Path) -> None:
    kept = record.read(YESTERDAY)
    assert kept == record.Record("3-5f0c1d9e8a77", {"4-90ab12cd34ef": "it says 'NO'"})
    path = tmp_path / "versions" / "det_x.json"
    record.write(path, kept)
    assert path.read_bytes() == YESTERDAY.read_bytes().rstrip()
    for harmed in (b"", b"[]", b'{"format": 9}', b'{"format": 1, "last": "", "refused": []}'):
        path.write_bytes(harmed)
        assert record.read(path) == record.Record()
    for number in range(30):
        kept.refuse(f"{number}-x", "bad")
    assert len(kept.refused) == 20
    assert "29-x" in kept.refused
