"""A source that takes requests and never answers does not hold up the end of a mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.faulty import Behaviour, FaultyServer, always, faulty_server

pytestmark = pytest.mark.needs("root", "fuse")


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        running.objects["model.bin"] = bytes(3_000_000)
        yield running


def test_unmount_while_requests_wait(server: FaultyServer, tmp_path: Path) -> None:
    point = tmp_path / "mnt"
    point.mkdir()
    env = {
        "AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1", "HARDTACK_UNSIGNED": "1",
        "HARDTACK_CACHE": str(tmp_path / "cache"), "HARDTACK_KEEP_FREE": "0",
        "HARDTACK_REFRESH_INTERVAL": "100ms",
    }  # fmt: skip
    done = run("mount", "s3://bucket", point, env=env)
    assert done.returncode == 0, done.stderr
    server.script = always(replace(Behaviour(), silent=True))
    before = len(server.requests)
    reader = subprocess.Popen(["cat", point / "model.bin"], stdout=subprocess.DEVNULL)
    try:
        while len(server.requests) < before + 2:  # its reads, and a listing
            assert reader.poll() is None
        reader.kill()
        done = run("unmount", point, env=env)
        assert done.returncode == 0, done.stderr
        log = (tmp_path / "cache" / "hardtack.log").read_text()
        assert "was killed" not in log and "did not drain" not in log and "ending" not in log
    finally:
        reader.kill()
        reader.wait()
        if os.path.ismount(point):
            run("unmount", "--lazy", point, env=env)
