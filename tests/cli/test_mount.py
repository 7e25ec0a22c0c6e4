"""`hardtack mount` where it can't do what it is told: what it says, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from hardtack.core.errors import CacheError, ConfigError, DiskFull, FileError, MountpointError
from hardtack.mount import mountinfo
from tests.support.commands import HARDTACK, run
from tests.support.stopping import stopped
from tests.support.waiting import until

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
    with stopped(keeper, worker):
        done = run("mount", f"file://{place}/other", place / "mnt", "--cache", place / "more")
        assert f"See its log: {place}/cache/hardtack.log" in done.stderr, done.stderr
        done = run("status", place / "mnt")
        assert done.stderr.count(f"{place}/mnt does not answer") == 1, done.stderr


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


@pytest.mark.parametrize("more", [(), ("-f",)])
def test_an_unknown_release_is_refused_before_anything_is_made(
    place: Path, more: tuple[str, ...]
) -> None:
    (place / "cache").rmdir()
    point = place / "new" / "mnt" if more else place / "mnt"
    done = _mount(place, point, *more, "--follow", "release 2026-11")
    assert done.returncode == ConfigError.exit_code
    assert "there is no release '2026-11'; known: none." in done.stderr
    assert not (place / "cache").exists()
    assert not (place / "new").exists()


@pytest.mark.parametrize("level", ["info", "warning"])
def test_all_processes_of_a_mount_log_at_the_level_that_was_asked(place: Path, level: str) -> None:
    where = (f"file://{place}/bucket", place / "mnt", "--cache", place / "cache")
    assert run("--log-level", level, "mount", *where).returncode == 0
    worker = int(json.loads((place / "mnt" / ".hardtack").read_text())["worker"])
    os.kill(worker, signal.SIGKILL)
    log = place / "cache" / "hardtack.log"
    until(lambda: "the worker was killed by signal 9" in log.read_text())
    until(lambda: run("health", place / "mnt").returncode == 0)
    told = json.loads(run("health", place / "mnt", "--json").stdout)
    assert told["worker"] != worker
    assert run("unmount", place / "mnt").returncode == 0
    levels = {line.split()[1] for line in log.read_text().splitlines()}
    assert levels == {"info", "warning"} if level == "info" else {"warning"}


def test_a_hold_logs_as_it_was_asked(tmp_path: Path) -> None:
    said = {}
    for level in ("info", "error"):
        words = ["--log-level", level, "--log-format", "json", "hold", str(tmp_path / "socket")]
        with subprocess.Popen([*HARDTACK, *words], stderr=subprocess.PIPE) as process:
            until(lambda: run("hold", tmp_path / "socket", "--check").returncode == 0)
            process.terminate()
            said[level] = process.communicate()[1]
    assert said["error"] == b""
    about = json.loads(said["info"].splitlines()[0])
    assert about["logger"] == "hardtack.mount.hold" and about["level"] == "info"


@pytest.mark.parametrize("command", ["doctor", "ready"])
def test_the_disk_of_a_mounts_own_cache_is_looked_at(place: Path, command: str) -> None:
    """With no --cache, and with no SOURCE: that of the mount, wherever it lies."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place / "cache"], check=True)
    try:
        assert _mount(place, place / "mnt").returncode == 0
        state = ("--state", place / "state", "--without", "images") if command == "ready" else ()
        offline = () if command == "ready" else ("--offline",)
        for source in ([f"file://{place}/bucket"], []):
            done = run(command, *source, *state, *offline)
            assert done.returncode == 1
            assert f"{place}/cache has " in done.stdout, done.stdout + done.stderr
        assert run("unmount", place / "mnt").returncode == 0
        values = place / "values.yaml"
        values.write_text(f"s3Mount: {{mountPath: {place}/mnt, cachePath: {place}/cache}}")
        done = run("doctor", "--offline", "--values", values)
        assert f"{place}/cache has " in done.stdout, done.stdout + done.stderr
    finally:
        subprocess.run(["umount", "-l", place / "cache"], check=True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["/mnt", "s3://weights/a"], 2, "MOUNTPOINT: hardtack mount s3://weights/a /mnt"),
        (["s3://weights", "/etc/passwd"], MountpointError.exit_code, "a file, not a directory"),
    ],
)
def test_what_is_wrong_of_a_mountpoint_is_told_with_the_remedy(
    place: Path, words: list[str], code: int, said: str
) -> None:
    done = run("mount", *words, "--cache", place / "cache")
    assert done.returncode == code and said in done.stderr, done.stderr
    assert not list((place / "cache").iterdir())


def test_a_hold_takes_no_files_place(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    done = run("hold", tmp_path / "precious")
    assert done.returncode == FileError.exit_code
    assert "precious is there, and is no socket" in done.stderr
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_full_disk_is_told_by_its_place(place: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place / "cache"], check=True)
    try:
        (place / "cache" / "rest").write_bytes(b"")
        with contextlib.suppress(OSError), (place / "cache" / "rest").open("ab", 0) as file:
            while file.write(b"x" * 4096):
                pass
        done = _mount(place, place / "mnt")
        assert done.returncode == DiskFull.exit_code
        assert f"{place}/cache can't be written: No space left on device" in done.stderr
        assert "Free some space on its disk" in done.stderr
        out = place / "cache" / "out"
        done = run(
            "prefetch", f"file://{place}/bucket", "--to", out, "--cache", place / "other" / "c"
        )
        assert done.returncode == DiskFull.exit_code
        said = rf"{re.escape(str(out))}/\.\d+\.hardtack-part can't be written: No space left on"
        assert re.search(said, done.stderr), done.stderr
        assert not list(out.iterdir())
    finally:
        subprocess.run(["umount", "-l", place / "cache"], check=True)
