"""The command while it is being loaded: what that takes, and signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from hardtack.deploy.ready.checks import Part
from tests.support.commands import loaded

INTERRUPTED = """
import os, signal, sys
from hardtack.__main__ import main

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "hardtack.cli.main":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
main()
"""


def test_ctrl_c_amid_the_imports_shows_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


ENDED_WHILE_IT_TELLS = """
import io, os, signal, sys
from hardtack.cli.main import main

class Terminal(io.RawIOBase):
    ending = [signal.SIGTERM]

    def writable(self):
        return True

    def write(self, data):
        while self.ending:
            os.kill(os.getpid(), self.ending.pop())
        return os.write(2, data)

sys.stderr = io.TextIOWrapper(io.BufferedWriter(Terminal()), line_buffering=True)
main(["unmount", "/no/such/place"])
"""


def test_a_signal_in_the_middle_of_a_line_ends_it_as_any_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDED_WHILE_IT_TELLS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "hardtack: ended by SIGTERM\n" in done.stderr
    assert "Traceback" not in done.stderr


CACHE = ("hardtack.cache.cache", "hardtack.cache.results", "hardtack.mount.control", "sqlite3")


@pytest.mark.parametrize(
    ("command", "code", "unneeded"),
    [
        (
            ["version"],
            0,
            (
                "json", "dataclasses", "tomllib", "hashlib", "socket", "ssl", "shutil", "asyncio",
                "hardtack.cli.options", "hardtack.cli.settings", "hardtack.core.typos",
            ),
        ),
        (["health", "/"], 42, CACHE),
        (["ready", "--help"], 0, (*CACHE, "socket", "yaml", "hardtack.deploy.ready.check")),
        (["ready", *(f"--without={part}" for part in Part)], 1, CACHE),
    ],
    ids=["version", "health", "help of ready", "ready without a source"],
)  # fmt: skip
def test_what_a_command_does_without_is_not_loaded(
    command: Sequence[str], code: int, unneeded: Sequence[str]
) -> None:
    assert loaded(*unneeded, by=command, code=code) == []
