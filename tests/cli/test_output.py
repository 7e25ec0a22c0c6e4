"""Tables, and why something failed, for people."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from hardtack.cli.output import fitted
from hardtack.core.errors import SourceUnreachable, in_words
from tests.support.commands import HARDTACK, clean_environment, run

LONG = "a-name-that-is-longer-than-a-line-of-a-terminal-" * 2 + ".bin"


@pytest.mark.parametrize(
    ("natural", "room", "widths"),
    [
        ([5, 6], 80, [5, 6]),
        ([5, 90, 40], 80, [5, 37, 37]),
        ([30, 30], 8, [10, 10]),  # never narrower than can be read
    ],
)
def test_the_widest_columns_give_way(natural: list[int], room: int, widths: list[int]) -> None:
    assert fitted(natural, room) == widths


def test_a_table_is_folded_on_a_terminal_alone(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / LONG).write_bytes(b"abc")
    words = [f"file://{tmp_path}/bucket", "--cache", str(tmp_path / "cache"), "--keep-free", "0"]
    assert run("prefetch", *words).returncode == 0
    piped = run("cache", "list", *words).stdout
    assert LONG in piped
    shown = _on_a_terminal("cache", "list", *words)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    column = lines[0].index("path")
    assert LONG in "".join(line[column:] for line in lines)


def test_findings_are_folded_on_a_terminal_alone(tmp_path: Path) -> None:
    pod = "kind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: a, image: busybox}\n"
    Path(tmp_path, "p.yaml").write_text(pod)
    Path(tmp_path, f"{'p' * 90}.yaml").write_text("x: {\n")
    piped = run("policy", "check", ".", cwd=tmp_path).stdout
    assert max(map(len, piped.splitlines())) > 100
    shown = _on_a_terminal("policy", "check", ".", cwd=tmp_path, code=1).splitlines()
    long = [line for line in shown if len(line) > 80]
    assert [len(line.split()) for line in long] == [1]  # the path, to be copied
    assert " ".join(line.strip() for line in shown) == " ".join(piped.split())
    assert sum(not line.startswith(" ") for line in shown) == len(piped.splitlines())
    as_json = _on_a_terminal("policy", "check", ".", "--json", cwd=tmp_path, code=1)
    assert json.loads(as_json)["findings"]


def _on_a_terminal(*words: str, cwd: Path | None = None, code: int = 0) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*HARDTACK, *words], stdout=theirs, env=clean_environment({"COLUMNS": "80"}), cwd=cwd
    ) as process:
        os.close(theirs)
        told = b""
        try:
            while piece := os.read(ours, 65536):
                told += piece
        except OSError as hung_up:  # how a terminal says that its last writer is gone
            assert hung_up.errno == 5
        finally:
            os.close(ours)
    assert process.returncode == code
    return told.decode()


def test_what_the_encoding_lacks_is_printed_all_the_same(tmp_path: Path) -> None:
    done = run("config", "show", env={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, "\\u2500" in done.stdout) == (0, True), done.stderr
    (tmp_path / "bucket").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bucket/\xff.bin")).write_bytes(b"abc")
    done = run("ls", f"file://{tmp_path}/bucket", "--json")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (TimeoutError(), "no answer in time"),
        (PermissionError(13, "Permission denied", "/srv/x"), "/srv/x: Permission denied"),
        (KeyError("weights"), "an unexpected key error: 'weights'"),
        (ValueError("no such size."), "no such size"),
        (SourceUnreachable("s3://b: connection refused.", remedy="Connect it."),
         "s3://b: connection refused"),
    ],
)  # fmt: skip
def test_failures_are_told_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words
