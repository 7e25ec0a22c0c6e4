"""`hardtack wait` on a real mount of a real bucket."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardtack.core.errors import ConfigError, MountpointError
from hardtack.mount import waiting
from tests.support.caches import bytes_of
from tests.support.commands import HARDTACK, Box, clean_environment, run
from tests.support.s3 import s3_server
from tests.support.waiting import until

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
        done = box.run("wait", point, "models/a", "nothing.bin", "--no-fetch", "--timeout", "3s")
        assert done.returncode == 1
        assert "not complete after 3 s" in done.stderr
        assert "nothing.bin: no such file" in done.stderr
        assert "models/a/weights.bin: absent" in done.stderr
        assert state(point / "models/a/weights.bin") == "absent"
        box.ok("prefetch", box.source, "models/a/*")
        box.ok("wait", point, "models/a", "--no-fetch", "--timeout", "0s")


def test_it_waits_for_a_mount_that_comes(box: Box) -> None:
    done = box.run("wait", box.point, "models/a", "--timeout", "0s")
    assert done.returncode == 1
    assert f"nothing is mounted at {box.point}" in done.stderr
    waiter = subprocess.Popen(
        [*HARDTACK, "wait", str(box.point), "models/a", "--timeout", "60s"],
        env=clean_environment(box.env), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert waiter.stderr is not None
    assert "nothing is mounted at" in waiter.stderr.readline()
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


def test_a_file_in_the_place_of_the_mountpoint_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("wait", tmp_path / "file", "x")
    assert done.returncode == MountpointError.exit_code
    assert f"{tmp_path}/file is a file" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wait_that_is_ended_leaves_no_reader_behind(box: Box, number: signal.Signals) -> None:
    with box.mounted(HARDTACK_PROGRESS_DEADLINE="60s") as point:
        with box.server.paused():
            waiter = subprocess.Popen(
                [*HARDTACK, "wait", str(point), "models/a"],
                env=clean_environment(box.env), stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            until(lambda: readers(waiter.pid))
            (reader,) = readers(waiter.pid)
            waiter.send_signal(number)
            _, told = waiter.communicate(timeout=30)
        assert waiter.returncode == 128 + number, told
        assert "Traceback" not in told
        until(lambda: not Path(f"/proc/{reader}").exists())


def readers(pid: int) -> list[int]:
    """The children of `pid` that read weights."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"file.read(" in command and b"weights.bin" in command:
                found.append(int(child))
    return found
