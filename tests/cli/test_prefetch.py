"""`hardtack prefetch`: more than fits, what it tells where nobody watches, and its exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hardtack.core.errors import DiskFull, NotFound
from tests.support.commands import clean_environment, run

NO_LIMIT = {"HARDTACK_KEEP_FREE": "0"}
SIZE = 3_000_000


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "bucket").mkdir()
    for name in ("a.bin", "b.bin", "c.bin"):
        (tmp_path / "bucket" / name).write_bytes(name.encode() * (SIZE // 5))
    return f"file://{tmp_path}/bucket"


def test_more_than_the_cache_may_hold(source: str, tmp_path: Path) -> None:
    """What fits is there whole; the rest is named with its remedy, and the limit holds."""
    cache = ("--cache", tmp_path / "cache")
    done = run("prefetch", source, *cache, "--cache-size", "7MB", env=NO_LIMIT)
    assert done.returncode == DiskFull.exit_code, done.stderr
    kept = int(done.stdout.split()[0])
    assert kept <= 2
    assert done.stdout == f"{kept} of 3 files; {3 - kept} failed.\n"
    refused = [line for line in done.stderr.splitlines() if "can't be kept" in line]
    assert len(refused) == 3 - kept
    for line in refused:
        assert re.match(r"hardtack: [abc]\.bin can't be kept: it needs .* more, and", line), line
        assert re.search("--cache-size (is )?7.0 MB", line) and "Raise --cache-size" in line
    size = json.loads(run("cache", "size", source, *cache, "--json", env=NO_LIMIT).stdout)
    assert kept * SIZE <= size["present"] <= 7_000_000
    listed = json.loads(run("cache", "list", source, *cache, "--json", env=NO_LIMIT).stdout)
    assert sum(one["complete"] for one in listed) == kept
    again = run("prefetch", source, *cache, env=NO_LIMIT)
    assert (again.returncode, again.stdout.split(":")[0]) == (0, "3 files, 9.0 MB"), again.stderr


def test_a_name_that_is_not_there(source: str, tmp_path: Path) -> None:
    done = run("prefetch", source, "a.*", "d.bin", "--cache", tmp_path / "cache", env=NO_LIMIT)
    assert done.returncode == NotFound.exit_code
    assert "d.bin: no file has this name. `hardtack ls SOURCE` lists them" in done.stderr
    for pattern in ("d.bin", "a.*"):
        told = run(
            "prefetch", source, pattern, "--cache", tmp_path / "cache", "--json", env=NO_LIMIT
        )
        assert json.loads(told.stdout)["exit_code"] == told.returncode, pattern


_AT_EACH_STEP = """
import sys
from hardtack.cli import progress
from hardtack.cli.main import main
progress.INTERVAL = 0.0
main(sys.argv[1:])
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_where_nobody_watches_it_says_how_far_it_is(source: str, tmp_path: Path, form: str) -> None:
    words = ["--log-format", form, "prefetch", source, "--cache", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-c", _AT_EACH_STEP, *words],
        env=clean_environment(NO_LIMIT), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    lines = done.stderr.splitlines()
    said = [json.loads(line)["message"] if form == "json" else line[29:] for line in lines]
    *on_the_way, last = said
    assert on_the_way, "nothing was said on the way"
    for line in on_the_way:
        assert re.match(r"prefetch: [\d.]+ [kM]?B of [369]\.0 MB at [\d.]+ [kMG]?B/s", line), line
    assert re.match(r"prefetch: 9\.0 MB in ", last), last
