"""`hardtack refresh`: what was published a moment ago is seen, by a running mount too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hardtack.core.errors import NotFound
from tests.support.commands import run
from tests.support.waiting import until

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


@pytest.mark.needs("root", "fuse")
def test_a_mount_says_what_it_does_not_show(tmp_path: Path) -> None:
    bucket, point, cache = tmp_path / "bucket", tmp_path / "mnt", tmp_path / "cache"
    for directory in (bucket, point):
        directory.mkdir()
    for name in (b"a\xff", b"b\xff", b"c\xff", b"d\xff"):
        Path(os.fsdecode(os.fsencode(bucket) + b"/" + name)).write_bytes(b"x")
    (bucket / "away.rclonelink").write_text("no/such/file")
    (bucket / "fine.rclonelink").write_text("also")
    (bucket / "also.rclonelink").write_text("here")
    (bucket / "here").write_bytes(b"x")
    assert run("mount", f"file://{bucket}", point, "--cache", cache, env=LATER).returncode == 0
    try:
        log = cache / "hardtack.log"
        until(lambda: "lead" in log.read_text(), log.read_text)
        for said in (log.read_text(), run("status", point).stdout):
            assert "4 keys are left out: 'a\\udcff' (it is not UTF-8), " in said
            assert "and 1 more" in said
            assert "1 link leads nowhere: 'away' → 'no/such/file'" in said
        told = json.loads(run("status", point, "--json").stdout)[str(point)]["left_out"]
        assert (told["count"], told["dangling"]) == (4, 1)
    finally:
        run("unmount", point)
