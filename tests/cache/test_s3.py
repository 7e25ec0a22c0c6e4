"""The cache over a real S3 server: once over the wire for any number of readers, then offline."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hardtack.core.errors import SourceUnreachable
from hardtack.source.options import SourceOptions
from hardtack.source.s3 import S3Dialect
from hardtack.source.store import StoreSource
from tests.support.caches import bytes_of, find, opened, read, settle
from tests.support.s3 import s3_server

DATA = bytes_of(3 << 20)


def test_read_by_eight_then_offline(tmp_path: Path) -> None:
    with s3_server() as server:
        server.put("weights", "v1/a.bin", DATA)
        server.put("weights", "v1/absent.bin", DATA[:100_000])
        source = StoreSource(
            S3Dialect("weights", SourceOptions(), server.env), "v1", SourceOptions()
        )
        with opened(tmp_path, source) as cache:
            cache.refresh()
            entry = find(cache, "a.bin")
            seen: list[bool] = []

            def reader() -> None:
                pieces = [read(cache, entry, at, 65_536) for at in range(0, len(DATA), 65_536)]
                seen.append(b"".join(pieces) == DATA)

            readers = [threading.Thread(target=reader) for _ in range(8)]
            for thread in readers:
                thread.start()
            for thread in readers:
                thread.join()
            assert seen == [True] * 8
            assert cache.counters.fetched_bytes == len(DATA)
            settle(cache, entry)
            server.stop()
            assert read(cache, entry, 1000, 5000) == DATA[1000:6000]
        source.close()
        source = StoreSource(
            S3Dialect("weights", SourceOptions(), server.env), "v1", SourceOptions()
        )
        with opened(tmp_path, source) as cache:
            assert read(cache, find(cache, "a.bin")) == DATA
            cache.reachability.failed(SourceUnreachable("stopped"))
            with pytest.raises(SourceUnreachable):
                read(cache, find(cache, "absent.bin"))
            server.start()
            cache.refresh()
            assert read(cache, find(cache, "absent.bin")) == DATA[:100_000]
        source.close()
