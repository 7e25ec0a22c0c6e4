"""First reads through a mount over links as boxes have them: late, slow, lossy, now and then."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.faulty import (
    Behaviour,
    FaultyServer,
    Script,
    always,
    at_random,
    faulty_server,
    flapping,
    slowly,
)

pytestmark = pytest.mark.needs("root", "fuse")

BODY = random.Random(21).randbytes(3_000_001)
SMALL = random.Random(22).randbytes(90_000)


def mount(server: FaultyServer, directory: Path, **more: str) -> Path:
    """The mountpoint, in `directory`; `more`: settings of it, as the environment has them."""
    point = directory / "mnt"
    if not os.path.lexists(point):
        point.mkdir()
    env = {
        "AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": "us-east-1", "HARDTACK_UNSIGNED": "1",
        "HARDTACK_CACHE": str(directory / "cache"), "HARDTACK_KEEP_FREE": "0",
        "HARDTACK_REFRESH_INTERVAL": "1m", **more,
    }  # fmt: skip
    done = run("mount", "s3://bucket", point, env=env)
    assert done.returncode == 0, done.stderr
    return point


@contextmanager
def mounted(server: FaultyServer, directory: Path, **more: str) -> Iterator[Path]:
    point = mount(server, directory, **more)
    try:
        yield point
    finally:
        done = run("unmount", point, env={"HARDTACK_CACHE": str(directory / "cache")})
        assert done.returncode == 0, done.stderr


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        running.objects |= {"model.bin": BODY, "small.bin": SMALL}
        yield running


LINKS: dict[str, tuple[str, Callable[[], Script]]] = {
    "100 ms late": ("model.bin", lambda: always(Behaviour(delay=0.1))),
    "2 s late": ("model.bin", lambda: always(Behaviour(delay=2.0))),
    "50 kB/s": ("small.bin", lambda: always(slowly(50_000))),
    "1 % reset": ("model.bin", lambda: at_random(0.01, Behaviour(cut=1000, reset=True))),
    "a third reset": ("model.bin", lambda: at_random(0.3, Behaviour(cut=300_000, reset=True))),
    "flapping": ("model.bin", lambda: flapping(0.5, Behaviour(cut=0, reset=True))),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_bad_link_costs_time_and_no_byte(server: FaultyServer, tmp_path: Path, name: str) -> None:
    """§ 3.1: once read it is there for good."""
    key, script = LINKS[name]
    with mounted(server, tmp_path) as point:
        server.script = script()
        assert (point / key).read_bytes() == server.objects[key]
    server.script = always(Behaviour(cut=0, reset=True))
    with mounted(server, tmp_path) as point:
        assert (point / key).read_bytes() == server.objects[key]


def test_percent_signs_in_names_are_meant(server: FaultyServer, tmp_path: Path) -> None:
    """§ 1.4."""
    server.objects |= {"a%41": b"not aA", "aA": b"aA", "%2Fb": b"no slash"}
    with mounted(server, tmp_path) as point:
        for name in ("a%41", "aA", "%2Fb"):
            assert (point / name).read_bytes() == server.objects[name]
