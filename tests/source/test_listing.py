"""Listings of many pages."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from hardtack.source.options import SourceOptions
from hardtack.source.s3 import S3Dialect
from hardtack.source.store import StoreSource
from tests.source.reading import listing, read
from tests.support.faulty import BUCKET, FaultyServer, faulty_server


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


def listed(server: FaultyServer, prefix: str = "") -> set[str]:
    options = SourceOptions(endpoint_url=server.endpoint, unsigned=True)
    source = StoreSource(S3Dialect(BUCKET, options, {}), prefix, options)
    try:
        return set(listing(source))
    finally:
        source.close()


SHAPES = {
    "flat": [f"k{n:05}" for n in range(10_001)],
    "few prefixes": [f"p{n % 7}/k{n:05}" for n in range(10_001)],
    "deep": [f"a/b/c/d{n % 3}/e/k{n:05}" for n in range(3_500)],
    "a prefix for each key": [f"p{n:05}/k" for n in range(2_500)],
    "mixed": [f"k{n:05}" for n in range(1_500)] + [f"k{n % 5}x/{n:05}" for n in range(4_000)],
    "names around the slash": [f"a{c}{n:04}" for c in "-./0" for n in range(800)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_key_is_listed_once(server: FaultyServer, shape: str) -> None:
    keys = SHAPES[shape]
    server.objects = dict.fromkeys(keys, b"x")
    assert listed(server) == set(keys)


def test_prefixes_are_listed_by_themselves_and_no_page_is_wasted(server: FaultyServer) -> None:
    server.objects = dict.fromkeys(SHAPES["few prefixes"], b"x")
    listed(server)
    assert {r.query.get("prefix") for r in server.requests} >= {f"p{n}/" for n in range(7)}
    assert len(server.requests) <= 11 + 7 + 8


def test_keys_are_relative_to_the_prefix(server: FaultyServer) -> None:
    server.objects = dict.fromkeys(["m/", "m/a", "m/b/c", "mm", "n"], b"x")
    assert listed(server, "m") == {"a", "b/c"}


def test_a_source_that_is_left_early_stops_asking(server: FaultyServer) -> None:
    server.objects = dict.fromkeys(SHAPES["flat"], b"x")
    options = SourceOptions(endpoint_url=server.endpoint, unsigned=True)
    source = StoreSource(S3Dialect(BUCKET, options, {}), "", options)
    pages = source.pages()
    assert len(next(iter(pages))) == 1000
    assert isinstance(pages, Generator)
    pages.close()
    source.close()
    assert len(server.requests) == 1


def test_percent_signs_in_keys_are_meant(server: FaultyServer) -> None:
    """A store for tests that verifies signatures mistakes these keys, for every client."""
    keys = ["a%41", "aA", "%2Fb", "100%", "c%252F"]
    server.objects = {key: key.encode() for key in keys}
    options = SourceOptions(endpoint_url=server.endpoint, unsigned=True)
    source = StoreSource(S3Dialect(BUCKET, options, {}), "", options)
    try:
        found = listing(source)
        assert {key: read(source, info) for key, info in found.items()} == server.objects
    finally:
        source.close()
