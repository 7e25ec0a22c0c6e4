"""`hardtack refresh`: what was published a moment ago is seen, by a running mount too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardtack.core.errors import NotFound
from tests.support.commands import run

LATER = {"HARDTACK_REFRESH_INTERVAL": "1h", "HARDTACK_KEEP_FREE": "0"}


@pytest.mark.needs("root", "fuse")
def test_a_running_mount_sees_what_was_just_published(tmp_path: Path) -> None:
    bucket, point = tmp_path / "bucket", tmp_path / "mnt"
    for directory in (bucket, point):
        directory.mkdir()
    (bucket / "a").write_bytes(b"a")
    source, cache = f"file://{bucket}", ("--cache", tmp_path / "cache")
    assert run("mount", source, point, *cache, env=LATER).returncode == 0
    try:
        (bucket / "b").write_bytes(b"b")
        assert not (point / "b").exists()
        done = run("refresh", source, *cache, "--json", env=LATER)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["added"] == 1
        assert (point / "b").read_bytes() == b"b"
    finally:
        run("unmount", point)


@pytest.mark.needs("root", "fuse")
def test_a_frozen_mount_is_left_as_it_is(tmp_path: Path) -> None:
    bucket, point = tmp_path / "bucket", tmp_path / "mnt"
    for directory in (bucket, point):
        directory.mkdir()
    source, cache = f"file://{bucket}", ("--cache", tmp_path / "cache")
    mounted = run("mount", source, point, *cache, "--follow", "frozen", env=LATER)
    assert mounted.returncode == 0, mounted.stderr
    try:
        (bucket / "new").write_bytes(b"new")
        done = run("refresh", source, *cache, env=LATER)
        assert done.returncode == 0, done.stderr
        assert "generation 1 is frozen" in done.stdout
        assert not (point / "new").exists()
    finally:
        run("unmount", point)


def test_without_a_mount_it_is_told_what_changed_and_what_is_left_out(tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "a").write_bytes(b"a")
    (bucket / "out.rclonelink").write_text("/etc/passwd")
    asked = ("refresh", f"file://{bucket}", "--cache", tmp_path / "cache")
    done = run(*asked, env=LATER)
    assert (done.returncode, done.stdout) == (0, "generation 1: 1 new, 0 gone\n"), done.stderr
    assert "out.rclonelink" in done.stderr
    (bucket / "a").unlink()
    assert run(*asked, env=LATER).stdout == "generation 2: 0 new, 1 gone\n"
    (bucket / "out.rclonelink").unlink()
    bucket.rmdir()
    assert run(*asked, env=LATER).returncode == NotFound.exit_code
