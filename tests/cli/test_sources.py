"""What a command takes for its source and its cache, and what it refuses to mount."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardtack.core.errors import ConfigError, MountpointError, NotFound
from hardtack.mount import mountinfo
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.waiting import until

needs_mount = pytest.mark.needs("root", "fuse")
ROOM = ("--keep-free", "0")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    for name in ("bucket", "mnt", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "bucket" / "a").write_bytes(b"abc")
    yield tmp_path
    if mountinfo.mounted_at(str(tmp_path / "mnt")):
        run("unmount", tmp_path / "mnt")


@pytest.mark.parametrize(
    "source", ["s3://", "s3:///x", "gs://", "az://", "file://", "file:///", "s3:// b", " ", ""]
)
def test_what_names_no_source_is_wrong_use(source: str, tmp_path: Path) -> None:
    for words in (("mount", source, tmp_path), ("prefetch", source)):
        done = run(*words)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        assert "give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://" in done.stderr


@pytest.mark.parametrize(
    ("source", "meant"),
    [("S3://b", "s3://b"), ("s3:/b/a", "s3://b/a"), ("gcs://b", "gs://b"), ("s4://b", "")],
)
def test_a_mistyped_scheme_is_told_by_each_command(source: str, meant: str, tmp_path: Path) -> None:
    for words in (
        ("mount", source, tmp_path), ("ls", source), ("prefetch", source),
        ("doctor", source, "--offline"), ("ready", source),
    ):  # fmt: skip
        done = run(*words, env={"HOME": str(tmp_path)})
        assert done.returncode == ConfigError.exit_code, f"{words}: {done.stderr}"
        assert "Write s3://bucket/prefix, gs://" in done.stderr
        assert f"Did you mean '{meant}'?" in done.stderr or not meant
        assert not done.stdout


@pytest.mark.parametrize("size", ["5", "0", "1MB"])
def test_a_cache_that_holds_no_chunk_is_wrong_use(size: str, tmp_path: Path) -> None:
    for words, env in ((("--cache-size", size), {}), ((), {"HARDTACK_CACHE_SIZE": size})):
        done = run("prefetch", f"file://{tmp_path}", "--cache", tmp_path / "c", *words, env=env)
        assert done.returncode == 2, done.stderr
        assert f"'{size}' holds nothing" in done.stderr and "Give 1MiB at least" in done.stderr
        assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "a b:9464", "x/y:1"])
def test_what_is_no_address_for_metrics_is_wrong_use(address: str, tmp_path: Path) -> None:
    done = run("mount", f"file://{tmp_path}/x", tmp_path / "mnt", "--metrics", address)
    assert done.returncode == 2, done.stderr
    assert "Write it like 127.0.0.1:9464" in done.stderr


@needs_mount
def test_a_port_that_is_taken_is_told(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(
            "mount", f"file://{place}/bucket", place / "mnt", "--cache", place / "cache", *ROOM,
            "--metrics", address,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"no metrics at {address}: Address already in use" in done.stderr


@needs_mount
def test_a_mount_stands_for_its_source_and_its_cache(place: Path) -> None:
    source, cache = f"file://{place}/bucket", place / "cache"
    env = {"XDG_CACHE_HOME": str(place / "home")}
    assert run("mount", source, place / "mnt", "--cache", cache, *ROOM, env=env).returncode == 0
    usual = set(os.listdir("/var/cache/hardtack")) if Path("/var/cache/hardtack").exists() else None
    for named in (source, str(place / "mnt"), "mnt", str(place / "mnt" / "a"), f"{source}/"):
        done = run("prefetch", named, env=env, cwd=place)
        assert done.returncode == 0, done.stderr
        assert f"the cache is {cache}, that of the mount at {place}/mnt" in done.stderr
    assert "3 B read and checked" in run("verify", place / "mnt", env=env).stdout
    now = set(os.listdir("/var/cache/hardtack")) if Path("/var/cache/hardtack").exists() else None
    assert now == usual


def test_a_directory_here_is_no_bucket(place: Path) -> None:
    done = run("prefetch", "bucket", "--cache", "kept", *ROOM, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "1 file, 3 B" in done.stdout


@needs_mount
def test_a_source_that_would_hold_its_own_mount_or_cache(place: Path) -> None:
    (place / "bucket" / "mnt").mkdir()
    source = f"file://{place}/bucket"
    done = run("mount", source, place / "bucket" / "mnt", "--cache", place / "cache", *ROOM)
    assert done.returncode == MountpointError.exit_code, done.stderr
    assert "lies inside its own source" in done.stderr
    inside = place / "bucket" / "cache"
    for words in (("mount", source, place / "mnt"), ("prefetch", source)):
        done = run(*words, "--cache", inside, *ROOM)
        assert done.returncode == ConfigError.exit_code, done.stderr
        assert f"The cache {inside} lies inside its own source" in done.stderr
    assert not inside.exists()


@needs_mount
@pytest.mark.parametrize("inside", ["mnt", "mnt/cache", "link/mnt/cache"])
def test_a_mount_that_would_hide_its_own_cache(place: Path, inside: str) -> None:
    """It waited for itself, for ever; a sidecar's MOUNT_PATH and CACHE_PATH are easily so."""
    (place / "link").symlink_to(place)
    mounted = {"MOUNT_PATH": f"{place}/mnt", "CACHE_PATH": f"{place}/{inside}"}
    done = run("mount", "-f", f"file://{place}/bucket", *ROOM, env=mounted)
    assert done.returncode == ConfigError.exit_code, done.stderr
    assert f"lies inside the mountpoint {place}/mnt, which would hide it" in done.stderr
    assert not os.listdir(place / "mnt")


@needs_mount
@pytest.mark.parametrize("name", ["nowhere", "bucket/a"])
def test_a_source_that_is_not_there_leaves_no_cache(place: Path, name: str) -> None:
    source = f"file://{place}/{name}"
    for words in (("mount", source, place / "mnt"), ("prefetch", source)):
        done = run(*words, "--cache", place / "cache", *ROOM)
        assert done.returncode == NotFound.exit_code, done.stderr
        assert not (place / "cache").exists()


@needs_mount
def test_ctrl_c_in_the_foreground_ends_all_without_a_traceback(place: Path) -> None:
    words = ["mount", "-f", f"file://{place}/bucket", str(place / "mnt"), *ROOM]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [*HARDTACK, *words, "--cache", str(place / "cache")],
            env=clean_environment(), stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            until(lambda: mountinfo.identity(str(place / "mnt"), 5.0))
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in (place / "log").read_text()
    assert not mountinfo.mounted_at(str(place / "mnt"))


@pytest.mark.parametrize("name", ["", "../x", "a\nb", "-x", "a b", "x" * 129])
def test_names_that_no_release_may_have(place: Path, name: str) -> None:
    words = (f"file://{place}/bucket", "--cache", place / "cache", *ROOM)
    done = run("pin", *words, "--", name)
    assert done.returncode == ConfigError.exit_code, done.stderr
    assert "letters, digits, '.', '_', '-' and '+'" in done.stderr
    assert run("releases", *words, "--json").stdout.strip() == "[]"


def test_a_release_is_kept_and_forgotten_for_programs(place: Path) -> None:
    words = (f"file://{place}/bucket", "june", "--cache", place / "cache", *ROOM, "--json")
    assert json.loads(run("pin", *words).stdout)["name"] == "june"
    assert json.loads(run("unpin", *words).stdout) == {"unpinned": "june"}
    assert "june" not in run("releases", words[0], *words[2:]).stdout


def test_names_from_the_source_print_as_one_line(place: Path) -> None:
    key = "x\n2026-01-01T00:00:00Z info forged\x1b[31m\x9b"
    (place / "bucket" / key).write_bytes(b"abc")
    words = (f"file://{place}/bucket", "--cache", place / "cache", *ROOM)
    assert run("prefetch", *words).returncode == 0
    shown = r"x\n2026-01-01T00:00:00Z info forged\x1b[31m\x9b"
    for command in (("ls",), ("cache", "list")):
        said = run(*command, *words).stdout
        assert shown in said
        assert "\x1b" not in said
        assert "\\n2026" in run(*command, *words, "--json").stdout
