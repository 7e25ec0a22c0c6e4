"""`hardtack mount` where it can't do what it is told: what it says, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from hardtack.core.errors import CacheError, FileError, MountpointError
from hardtack.mount import mountinfo
from tests.support.commands import run

pytestmark = pytest.mark.needs("root", "fuse")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name in ("bucket", "other", "mnt", "cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "bucket" / "a").write_bytes(b"abc")
    yield tmp_path
    if mountinfo.mounted_at(str(tmp_path / "mnt")):
        run("unmount", tmp_path / "mnt")


def _mount(place: Path, *more: str | Path) -> CompletedProcess[str]:
    done = run(
        "mount", f"file://{place}/bucket", *more, "--cache", place / "cache", "--keep-free", "0"
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("point", ["/proc/foo/bar", "/etc/passwd/x", "/etc/passwd/x/y"])
def test_a_mountpoint_that_cannot_be_made(place: Path, point: str) -> None:
    for more in ((), ("-f",)):
        done = _mount(place, point, *more)
        assert done.returncode == MountpointError.exit_code and point in done.stderr, done.stderr


def test_a_log_that_cannot_be_written_leaves_no_mount(place: Path) -> None:
    (place / "cache" / "hardtack.log").mkdir()
    done = _mount(place, place / "mnt")
    assert done.returncode == CacheError.exit_code and "hardtack.log" in done.stderr, done.stderr
    assert not mountinfo.mounted_at(str(place / "mnt"))


def test_the_log_of_what_goes_on_is_named(place: Path) -> None:
    done = _mount(place, place / "mnt")
    assert f"its log is {place}/cache/hardtack.log" in done.stderr
    stats = run("status", f"file://{place}/bucket")
    assert (stats.returncode, stats.stdout.splitlines()[0]) == (0, str(place / "mnt"))
    keeper = int(json.loads((place / "mnt" / ".hardtack").read_text())["keeper"])
    worker = int(json.loads((place / "mnt" / ".hardtack").read_text())["worker"])
    for pid in (keeper, worker):
        os.kill(pid, signal.SIGSTOP)
    try:
        done = run("mount", f"file://{place}/other", place / "mnt", "--cache", place / "more")
        assert f"See its log: {place}/cache/hardtack.log" in done.stderr, done.stderr
        done = run("status", place / "mnt")
        assert done.stderr.count(f"{place}/mnt does not answer") == 1, done.stderr
    finally:
        for pid in (worker, keeper):
            os.kill(pid, signal.SIGCONT)


def test_a_file_that_the_system_refuses_is_named(place: Path) -> None:
    (place / "cache" / "mount.json").mkdir()
    done = _mount(place, place / "mnt")
    assert done.returncode == FileError.exit_code and "mount.json: " in done.stderr, done.stderr
    assert not mountinfo.mounted_at(str(place / "mnt"))


def test_a_status_before_the_first_read_claims_nothing(place: Path) -> None:
    point = place / "mnt"
    assert _mount(place, point).returncode == 0
    said = run("status", point).stdout
    assert "%" not in said, said
    assert "not tried" not in said, said
    assert (point / "a").read_bytes() == b"abc"
    assert " % from the cache" in run("status", point).stdout


def test_replace_refuses_what_it_would_not_do(place: Path) -> None:
    point = place / "mnt"
    assert _mount(place, point).returncode == 0
    for words in (
        (f"file://{place}/other", point),
        (point, "--cache-size", "1GB"),
        (f"file://{place}/bucket", point, "--region", "eu-west-1"),
        (point, "--uid", "7"),
    ):
        done = run("mount", *words, "--replace")
        assert done.returncode == 2, done.stderr
        assert "unmount and mount anew" in done.stderr
    for kept in ((point,), (f"file://{place}/bucket", point)):
        done = run("mount", *kept, "--replace", env={"HARDTACK_CACHE_SIZE": "1GB"})
        assert done.returncode == 0, done.stderr
    for variable in (point, place / "elsewhere"):  # a mountpoint that is given goes first
        done = run("mount", point, "--replace", env={"MOUNT_PATH": str(variable)})
        assert done.returncode == 0, done.stderr
    assert (point / "a").read_bytes() == b"abc"
