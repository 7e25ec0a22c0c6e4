"""What every kind of source does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hardtack.core.errors import ObjectChanged, SourceUnreachable
from hardtack.source.api import Source
from hardtack.source.files import FileSource
from hardtack.source.memory import MemorySource
from hardtack.source.open import open_source
from hardtack.source.options import SourceOptions
from hardtack.source.scripted import ScriptedSource
from tests.source.reading import listing, read
from tests.support.azurite import Azurite
from tests.support.gcs import GCSServer
from tests.support.s3 import S3Server

DATA = random.Random(7).randbytes(300_000)


@dataclass
class Store:
    source: Source
    put: Callable[[str, bytes], object]
    delete: Callable[[str], None]


KINDS = ["s3", pytest.param("az", marks=pytest.mark.needs("npm")), "gs"]


@pytest.fixture(params=[*KINDS, "file", "memory", "scripted"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        bucket = f"b{abs(hash(str(tmp_path))):x}"
        server.create_bucket(bucket)
        server.put(bucket, "elsewhere", b"not under the prefix")
        store = Store(
            open_source(f"s3://{bucket}/models/v1"),
            lambda key, data: server.put(bucket, f"models/v1/{key}", data),
            lambda key: server.delete(bucket, f"models/v1/{key}"),
        )
    elif request.param == "az":
        blobs: Azurite = request.getfixturevalue("azure")
        for name, value in blobs.env.items():
            monkeypatch.setenv(name, value)
        container = f"c{abs(hash(str(tmp_path))):x}"
        blobs.create_container(container)
        blobs.put(container, "elsewhere", b"not under the prefix")
        store = Store(
            open_source(f"az://{container}/models/v1"),
            lambda key, data: blobs.put(container, f"models/v1/{key}", data),
            lambda key: blobs.delete(container, f"models/v1/{key}"),
        )
    elif request.param == "gs":
        google: GCSServer = request.getfixturevalue("gcs")
        bucket = f"b{abs(hash(str(tmp_path))):x}"
        google.create_bucket(bucket)
        google.put(bucket, "elsewhere", b"not under the prefix")
        options = SourceOptions(endpoint_url=google.endpoint, unsigned=True)
        store = Store(
            open_source(f"gs://{bucket}/models/v1", options),
            lambda key, data: google.put(bucket, f"models/v1/{key}", data),
            lambda key: google.delete(bucket, f"models/v1/{key}"),
        )
    elif request.param == "file":

        def put(key: str, data: bytes) -> None:
            path = tmp_path / "dir" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        store = Store(
            FileSource(tmp_path / "dir"), put, lambda key: (tmp_path / "dir" / key).unlink()
        )
    else:
        memory = MemorySource()
        source = ScriptedSource(memory) if request.param == "scripted" else memory
        store = Store(source, memory.put, memory.delete)
    yield store
    store.source.close()


def test_lists_keys_relative_to_its_root_with_sizes(store: Store) -> None:
    store.put("a", b"1")
    store.put("dir/b", b"22")
    assert {key: info.size for key, info in listing(store.source).items()} == {"a": 1, "dir/b": 2}


def test_reads_the_whole_object(store: Store) -> None:
    store.put("big", DATA)
    assert read(store.source, listing(store.source)["big"]) == DATA


@pytest.mark.parametrize("bounds", [(0, 1), (0, 65536), (299_999, 300_000), (12_345, 234_567)])
def test_reads_a_range(store: Store, bounds: tuple[int, int]) -> None:
    store.put("big", DATA)
    info = listing(store.source)["big"]
    assert read(store.source, info, *bounds, piece=7000) == DATA[bounds[0] : bounds[1]]


def test_reads_an_empty_object(store: Store) -> None:
    store.put("empty", b"")
    info = listing(store.source)["empty"]
    assert info.size == 0
    assert read(store.source, info) == b""


def test_a_stream_left_early_harms_nobody(store: Store) -> None:
    store.put("big", DATA)
    info = listing(store.source)["big"]
    with store.source.stream(info, 0, info.size) as stream:
        assert stream.readinto(memoryview(bytearray(10))) > 0
    assert read(store.source, info) == DATA


def test_an_overwritten_object_has_another_identity(store: Store) -> None:
    store.put("key", b"one")
    old = listing(store.source)["key"]
    store.put("key", b"other")
    with pytest.raises(ObjectChanged, match="key"):
        read(store.source, old)
    assert read(store.source, listing(store.source)["key"]) == b"other"


def test_a_deleted_object_has_changed(store: Store) -> None:
    store.put("key", b"one")
    store.put("other", b"one")
    info = listing(store.source)["key"]
    store.delete("key")
    with pytest.raises(ObjectChanged, match="key"):
        read(store.source, info)
    with pytest.raises(ObjectChanged, match="key"):
        store.source.checksum(info)


def test_an_object_that_never_was_has_changed(store: Store) -> None:
    store.put("key", b"one")
    info = listing(store.source)["key"]
    with pytest.raises(ObjectChanged):
        read(store.source, replace(info, key="nowhere"))


@pytest.mark.parametrize(
    "key",
    ["with space", "plus+plus", "100% sure", "ümläut/日本", "a&b=c?d#e;f", "~-_.!'()*", 'q"<>'],
)
def test_odd_keys(store: Store, key: str) -> None:
    store.put(key, b"odd")
    assert read(store.source, listing(store.source)[key]) == b"odd"


def test_a_checksum_is_of_the_bytes_or_absent(store: Store) -> None:
    store.put("key", b"abc")
    found = store.source.checksum(listing(store.source)["key"])
    assert found is None or found.algorithm in (
        "sha256",
        "sha1",
        "crc32",
        "crc32c",
        "crc64nvme",
        "md5",
    )


def test_closing_ends_streams(store: Store) -> None:
    store.put("big", DATA * 40)
    info = listing(store.source)["big"]
    with store.source.stream(info, 0, info.size) as stream:
        stream.readinto(memoryview(bytearray(1000)))
        store.source.close()
        buffer = memoryview(bytearray(1 << 20))
        with pytest.raises(SourceUnreachable, match="closed"):
            for _ in range(10_000):
                assert stream.readinto(buffer)
