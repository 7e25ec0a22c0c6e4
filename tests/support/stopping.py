"""Processes that hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until


def stop(pid: int) -> None:
    """Stop a process; when this returns it answers nothing more, until it gets SIGCONT.

    The signal alone stops it a little later: on a busy machine it may answer once more.
    """
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(_state(thread) in "TZ" for thread in Path(f"/proc/{pid}/task").iterdir()))


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """The processes are stopped meanwhile; they go on in the opposite order."""
    for pid in pids:
        stop(pid)
    try:
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


def _state(thread: Path) -> str:
    """Its letter as in /proc/PID/stat; Z of one that ended meanwhile."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
