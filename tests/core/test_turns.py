"""Threads and processes that wait for their turns."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from hardtack.core.turns import wait_for_turns

PROGRAM = """
import os, subprocess, threading
from hardtack.core.turns import wait_for_turns

wait_for_turns()
threading.Thread(target=lambda: print("thread", os.sched_getscheduler(0))).start()
subprocess.run(["chrt", "--pid", "0"])
"""


def test_what_is_started_later_waits_too() -> None:
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    assert f"thread {os.SCHED_BATCH}" in done.stdout and "SCHED_BATCH" in done.stdout


def test_where_it_is_not_allowed_all_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with caplog.at_level("DEBUG"):
        wait_for_turns()
    assert "Operation not permitted" in caplog.text
