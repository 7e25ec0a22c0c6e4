"""What docs/operate.md promises of the cache."""

from __future__ import annotations

from pathlib import Path

from tests.support.caches import bytes_of
from tests.support.commands import Box
from tests.support.s3 import s3_server


def test_a_bucket_moves_without_its_weights_crossing_the_network_again(tmp_path: Path) -> None:
    with s3_server() as server:
        for bucket in ("old", "new"):
            server.put(bucket, "models/a.bin", bytes_of(3_000_000))
            server.put(bucket, "models/parts.bin", bytes_of(50_000), etag=f"{'a' * 32}-2")
        box = Box(tmp_path, server)
        assert "3.0 MB came over the network" in box.ok("prefetch", "s3://old")
        # what was uploaded in several parts is known by bucket and key
        assert "50.0 kB came over the network" in box.ok("prefetch", "s3://new")
