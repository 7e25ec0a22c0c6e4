"""`hardtack wait` on a real mount of a real bucket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardtack.core.errors import ConfigError
from hardtack.mount import waiting
from tests.support.caches import bytes_of
from tests.support.commands import HARDTACK, Box, clean_environment
from tests.support.s3 import s3_server

pytestmark = pytest.mark.needs("fuse", "fusermount3")
BODY = bytes_of(3_000_000)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with s3_server() as server:
        server.put("weights", "models/a/weights.bin", BODY)
        server.put("weights", "models/a/model.toml", b"task = 'count'\n")
        server.put("weights", "models/b/weights.bin", BODY[::-1])
        yield Box(tmp_path, server)


def state(path: Path) -> str:
    return os.getxattr(path, "user.hardtack.state").decode()


def test_it_fetches_what_is_missing_and_only_that(box: Box) -> None:
    with box.mounted() as point:
        assert state(point / "models/a/weights.bin") == "absent"
        box.ok("wait", point, "models/a", "--timeout", "60s")
        assert state(point / "models/a/weights.bin") == "complete"
        assert state(point / "models/a/model.toml") == "complete"
        assert state(point / "models/b/weights.bin") == "absent"
        done = box.run("wait", point, point / "models/**/*.bin", "--timeout", "60s")
        assert done.returncode == 0, done.stderr
        assert state(point / "models/b/weights.bin") == "complete"


def test_it_only_waits_when_told_so(box: Box) -> None:
    with box.mounted() as point:
        done = box.run("wait", point, "models/a", "nothing.bin", "--no-fetch", "--timeout", "1s")
        assert done.returncode == 1
        assert "not complete after 1 s" in done.stderr
        assert "nothing.bin: no such file" in done.stderr
        assert "models/a/weights.bin: absent" in done.stderr
        assert state(point / "models/a/weights.bin") == "absent"
        box.ok("prefetch", box.source, "models/a/*")
        box.ok("wait", point, "models/a", "--no-fetch", "--timeout", "0s")


def test_it_waits_for_a_mount_that_comes(box: Box) -> None:
    done = box.run("wait", box.point, "models/a", "--timeout", "0s")
    assert done.returncode == 1
    assert "the mount doesn't answer" in done.stderr
    waiter = subprocess.Popen(
        [*HARDTACK, "wait", str(box.point), "models/a", "--timeout", "60s"],
        env=clean_environment(box.env), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert waiter.stderr is not None
    assert "doesn't answer yet" in waiter.stderr.readline()
    with box.mounted() as point:
        _, told = waiter.communicate(timeout=90)
        assert waiter.returncode == 0, told
        assert state(point / "models/a/weights.bin") == "complete"


def test_offline_it_says_what_is_missing_and_goes_on_when_it_can(box: Box) -> None:
    with box.mounted(HARDTACK_PROGRESS_DEADLINE="1s") as point:
        box.server.stop()
        done = box.run("wait", point, "models/a", "--timeout", "2s")
        assert done.returncode == 1
        assert "models/a/weights.bin: absent" in done.stderr
        box.server.start()
        box.ok("wait", point, "models/a", "--timeout", "60s")


def test_paths_are_on_the_mount_or_refused() -> None:
    found = waiting.inside("/srv/m", ["a", "/srv/m/b/*.bin", "a"])
    assert found == ("a", "b/*.bin")
    for outside in ("/etc/passwd", "../x", "a/../../x"):
        with pytest.raises(ConfigError, match="is not below /srv/m"):
            waiting.inside("/srv/m", [outside])
