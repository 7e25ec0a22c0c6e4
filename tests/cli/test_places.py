"""Commands where the system refuses: a full disk, a socket of root's, an output that can't be
written, a reader that goes away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hardtack.core.errors import DiskFull, MountpointError
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.others import as_other


def _sh(script: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["sh", "-c", script, "sh", *map(str, arguments)],
        env=clean_environment({"HARDTACK_KEEP_FREE": "0"}), cwd=cwd,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_an_output_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    done = _sh('exec "$@" > /dev/full', *HARDTACK, "config", "show", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()) == (
        DiskFull.exit_code,
        [
            "hardtack: No space left on device.",
            "  Free some space there, or name another place.",
        ],
    )


def test_an_output_that_is_closed_is_no_error(tmp_path: Path) -> None:
    done = _sh('exec "$@" >&-', *HARDTACK, "config", "show", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = _sh('exec "$@" 2>&-', *HARDTACK, "unmount", tmp_path, cwd=tmp_path)
    assert done.returncode == MountpointError.exit_code


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = _sh('"$@" | head -1', *HARDTACK, "policy", "rules", cwd=tmp_path)
    assert done.stdout.startswith("rule") and done.stderr == ""
    ours, theirs = os.pipe()
    os.close(ours)
    gone = subprocess.run(
        [*HARDTACK, "policy", "rules"], stdout=theirs, stderr=subprocess.PIPE, check=False
    )
    os.close(theirs)
    assert (gone.returncode, gone.stderr) == (141, b"")


@pytest.mark.needs("root")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "a").write_bytes(b"abc")
    (tmp_path / "full").mkdir()
    filled = f"""
        mount -t tmpfs -o size=64k none {tmp_path}/full
        dd if=/dev/zero of={tmp_path}/full/rest bs=1k 2> /dev/null
        exec "$@"
    """
    words: list[str | Path] = ["unshare", "--mount", "sh", "-c", filled, "sh", *HARDTACK]
    cache = tmp_path / "full" / "cache"
    source = f"file://{tmp_path}/bucket"
    done = _sh('exec "$@"', *words, "prefetch", source, "--cache", cache, cwd=tmp_path)
    assert done.returncode == DiskFull.exit_code, done.stderr
    assert f"{cache}" in done.stderr and "Free some space" in done.stderr
    state = tmp_path / "full" / "state"
    serve: list[str | Path] = [
        "endpoint",
        "serve",
        "--models",
        tmp_path / "bucket",
        "--state",
        state,
        "--port",
        "0",
    ]
    done = _sh('exec "$@"', *words, *serve, cwd=tmp_path)
    assert done.returncode == DiskFull.exit_code, done.stderr
    assert "Free some space" in done.stderr and "damaged" not in done.stderr


@pytest.mark.needs("root")
def test_a_socket_of_roots_is_a_finding(tmp_path: Path) -> None:
    """`doctor` and `ready` of another user tell all the rest."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    for words in (["doctor", "--offline"], ["ready", "--without", "weights"]):
        plain = as_other(65534, *HARDTACK, *words, "--socket", closed / "s")
        done = _sh('exec "$@"', *plain, cwd=Path("/"))
        assert done.returncode == 1, done.stderr
        assert len(done.stdout.splitlines()) > 8, done.stdout


def test_modes_are_shown_as_they_are_written() -> None:
    shown = run("config", "show", "--file-mode", "440").stdout
    (line,) = (line for line in shown.splitlines() if "file_mode" in line)
    assert line.split()[2] == "440"
