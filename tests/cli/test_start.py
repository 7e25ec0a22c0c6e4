"""The command while it is being loaded: what that takes, and signals."""

from __future__ import annotations

import signal
import subprocess
import sys

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


def test_a_small_command_loads_what_it_needs_and_no_more() -> None:
    """What each of all commands would wait for."""
    for_others = ("json", "dataclasses", "tomllib", "hashlib", "socket", "ssl", "shutil", "asyncio")
    ours = (
        "hardtack.cli.options",
        "hardtack.cli.settings",
        "hardtack.core.typos",
        "hardtack.images",
    )
    assert loaded(*for_others, *ours, by=["version"]) == []
