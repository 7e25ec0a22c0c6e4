"""Chunk map, keys, read-ahead, eviction: logic without disk, clock or network."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.cache.api import Kind
from hardtack.cache.background import backoff
from hardtack.cache.chunkmap import (
    DamagedMap,
    Header,
    Identity,
    Part,
    pack_header,
    pack_hole,
    pack_part,
    pack_record,
    unpack_header,
    unpack_holes,
    unpack_parts,
    unpack_records,
)
from hardtack.cache.eviction import shortage, victims
from hardtack.cache.index import Row
from hardtack.cache.keys import Place, bad_target, content_id, place
from hardtack.cache.readahead import ReadAhead
from hardtack.core.errors import FormatError
from hardtack.source.api import ObjectInfo

HEADER = Header(4096, Identity("s3://b", "käse", "e-1", 50_000))


def test_a_header_comes_back() -> None:
    data = pack_header(HEADER)
    assert len(data) % 16 == 0
    assert unpack_header(data + b"records") == (HEADER, len(data))
    assert (HEADER.chunks, HEADER.length_of(0), HEADER.length_of(12)) == (13, 4096, 848)


@given(st.data())
def test_no_flipped_bit_of_a_header_is_believed(data: st.DataObject) -> None:
    text = bytearray(pack_header(HEADER))
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((DamagedMap, FormatError)):
        unpack_header(bytes(text))


RECORDS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2**64 - 1) | st.none()))


@given(RECORDS, st.integers(0, 15), st.data())
def test_torn_and_flipped_records_say_nothing(
    records: list[tuple[int, int | None]], torn: int, data: st.DataObject
) -> None:
    packed = [pack_hole(c) if s is None else pack_record(c, s) for c, s in records]
    expected: dict[int, int] = {}
    flipped = data.draw(st.integers(0, len(records) - 1)) if records else -1
    for i, (chunk, total) in enumerate(records):
        if i == flipped:
            bad = bytearray(packed[i])
            bad[data.draw(st.integers(0, 15))] ^= data.draw(st.integers(1, 255))
            packed[i] = bytes(bad)
        elif total is None:
            expected.pop(chunk, None)
        else:
            expected[chunk] = total
    assert unpack_records(b"".join(packed) + b"x" * torn, 13) == expected


def test_the_last_record_of_a_chunk_says_how_much_of_it_is_there() -> None:
    part, more = Part(1000, 2**32 - 1), Part(3000, 0)
    records = pack_part(1, part) + pack_part(2, part) + pack_part(3, part) + pack_part(12, more)
    records += pack_record(1, 7) + pack_hole(3) + pack_part(2, more) + pack_part(13, part)
    assert unpack_parts(records + b"torn", 13) == {2: more, 12: more}
    assert unpack_records(records, 13) == {1: 7}
    assert unpack_holes(records, 13) == {3}
    assert unpack_parts(records + pack_part(3, part), 13) == {2: more, 12: more, 3: part}


@given(st.integers(0, 15), st.integers(1, 255))
def test_a_flipped_record_of_a_part_says_nothing(offset: int, flip: int) -> None:
    record = bytearray(pack_part(5, Part(1000, 1234)))
    record[offset] ^= flip
    assert unpack_parts(bytes(record), 13) == {}
    assert unpack_records(bytes(record), 13) == {}
    assert unpack_holes(bytes(record), 13) == set()


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a", Place("", "a", Kind.FILE)),
        ("a/b/c.bin", Place("a/b", "c.bin", Kind.FILE)),
        ("a/b/", Place("a", "b", Kind.DIRECTORY)),
        ("a/l.rclonelink", Place("a", "l", Kind.LINK)),
    ],
)
def test_keys_that_are_names(key: str, expected: Place) -> None:
    assert place(key) == expected


@pytest.mark.parametrize(
    "key",
    [
        "/a",
        "a//b",
        "a/../b",
        "./a",
        "..",
        "a\0b",
        "\udcff",
        "x" * 256,
        "é" * 128,
        "//",
        ".rclonelink",
    ],
)
def test_keys_that_are_not(key: str) -> None:
    assert isinstance(place(key), str)


@pytest.mark.parametrize(
    ("parent", "target", "fine"),
    [
        ("a/b", "../../blobs/x", True),
        ("a/b", "../../../x", False),
        ("", "x", True),
        ("", "..", False),
        ("a", "/etc/passwd", False),
        ("a", "", False),
    ],
)
def test_links_stay_in_the_mount(parent: str, target: str, fine: bool) -> None:
    assert (bad_target(parent, target) == "") is fine


def test_equal_md5_and_size_share_content() -> None:
    md5, other = "0" * 32, "0" * 32 + "-2"
    assert content_id("s", ObjectInfo("a", 1, md5, 0)) == content_id(
        "t", ObjectInfo("b", 1, md5, 5)
    )
    assert content_id("s", ObjectInfo("a", 1, md5, 0)) != content_id(
        "s", ObjectInfo("a", 2, md5, 0)
    )
    assert content_id("s", ObjectInfo("a", 1, other, 0)) != content_id(
        "s", ObjectInfo("b", 1, other, 0)
    )


def test_windows_double_for_who_goes_on() -> None:
    ahead = ReadAhead(limit=8)
    assert ahead.touch(0, 0) is None
    assert ahead.touch(0, 0) is None
    spans = [ahead.touch(n, n) for n in range(1, 7)]
    assert spans == [(2, 3), (3, 5), (4, 8), (5, 13), None, (7, 15)]


def told_to(ahead: ReadAhead, chunks: Iterable[int]) -> list[int]:
    """After each of `chunks` was read: how far ahead was to be fetched by then."""
    stops = [0]
    for chunk in chunks:
        span = ahead.touch(chunk, chunk)
        stops.append(max(stops[-1], span[1] if span else 0))
    return stops[1:]


def test_who_reads_on_is_told_a_quarter_of_the_window_at_once() -> None:
    stops = told_to(ReadAhead(limit=32), range(1000))
    steps = [after - before for before, after in pairwise(stops[10:]) if after > before]
    assert set(steps) == {8}
    assert all(stop - chunk > 24 for chunk, stop in enumerate(stops) if chunk > 10)


@given(st.lists(st.permutations(range(4)), min_size=10, max_size=50))
def test_reads_that_come_in_another_order_are_one_reader(fours: list[list[int]]) -> None:
    order = [4 * turn + chunk for turn, four in enumerate(fours) for chunk in four]
    stops = told_to(ReadAhead(limit=16), [0, *(chunk + 1 for chunk in order)])
    for four in range(8, len(fours)):  # the window is as large as it gets
        assert stops[4 * four] - 4 * four > 12


@given(st.lists(st.integers(0, 10_000).map(lambda n: n * 3)))
def test_who_jumps_gets_nothing_ahead(chunks: list[int]) -> None:
    ahead = ReadAhead(limit=8)
    assert all(ahead.touch(chunk, chunk) is None for chunk in chunks)


def test_two_sequential_readers_each_get_their_window() -> None:
    ahead = ReadAhead(limit=8)
    for chunk in range(4):
        first, second = ahead.touch(chunk, chunk), ahead.touch(100 + chunk, 100 + chunk)
        assert (first is None) == (second is None) == (chunk == 0)


def row(id: str, present: int) -> Row:
    return Row(id, Identity("s", id, "e", present), present, 0.0, None)


def test_the_oldest_go_first_and_the_kept_stay() -> None:
    rows = [row("a", 10), row("kept", 100), row("b", 10), row("c", 10)]
    assert [v.id for v in victims(rows, 15, {"kept"}.__contains__)] == ["a", "b"]
    assert list(victims(rows, 0, lambda _: False)) == []


def test_shortage_is_the_larger_of_two() -> None:
    assert shortage(present=90, size_limit=100, free=1000, keep_free=10, incoming=20) == 10
    assert shortage(present=0, size_limit=None, free=25, keep_free=10, incoming=20) == 5
    assert shortage(present=0, size_limit=None, free=50, keep_free=10, incoming=20) <= 0


@pytest.mark.parametrize(
    ("interval", "known", "most"),
    [(2.0, True, 2.0), (0.2, True, 1.0), (900.0, True, 180.0), (900.0, False, 60.0)],
)
def test_a_source_that_is_away_is_asked_as_often_as_one_that_is_there(
    interval: float, known: bool, most: float
) -> None:
    delays = list(islice(backoff(interval, known=known).delays(), 500))
    assert most / 2 < max(delays) <= most
