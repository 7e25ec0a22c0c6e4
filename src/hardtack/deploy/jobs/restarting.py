"""Restarting k3s from one of its own pods: by the host's systemd, or by a signal in a container."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hardtack.core.errors import JobError

log = logging.getLogger(__name__)

_HOST = ("nsenter", "--target", "1", "--mount", "--uts", "--ipc", "--net", "--pid", "--")
_NAMES = ("k3s-server", "k3s-agent", "k3s")
_SECONDS = 120.0


def default(proc: Path = Path("/proc")) -> tuple[str, ...] | None:
    """The command that restarts k3s where PID 1 is systemd; None where a signal does it.

    `proc` must be the host's: the pod has `hostPID`.
    """
    if _comm(proc / "1") != "systemd":
        return None
    agent = any(_comm(process) == "k3s-agent" for process in _processes(proc))
    return (*_HOST, "systemctl", "restart", "k3s-agent" if agent else "k3s")


def restart(
    command: Sequence[str] | None = None,
    *,
    proc: Path = Path("/proc"),
    kill: Callable[[int, int], None] = os.kill,
) -> str:
    """Restart k3s, by `command` or as `default` says; what was done. Raises JobError."""
    chosen = tuple(command) if command else default(proc)
    if chosen is None:
        return _signal(proc, kill)
    try:
        done = subprocess.run(
            chosen, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JobError(f"k3s can't be restarted by `{' '.join(chosen)}`: {error}.") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise JobError(
            f"`{' '.join(chosen)}` ended with {done.returncode}: {last[0]}.",
            remedy="The pod needs hostPID and privileged, and k3s its systemd unit; or give "
            "another command.",
        )
    return " ".join(chosen)


def _signal(proc: Path, kill: Callable[[int, int], None]) -> str:
    """SIGTERM to k3s: in a container it is what the container ends with, and starts anew with."""
    found = sorted(int(p.name) for p in _processes(proc) if _comm(p) in _NAMES)
    if not found:
        raise JobError(
            "There is neither systemd nor a k3s among the processes.",
            remedy="The pod needs hostPID: true.",
        )
    try:
        kill(found[0], signal.SIGTERM)
    except OSError as error:
        raise JobError(f"k3s (process {found[0]}) can't be told to end: {error}.") from None
    return f"SIGTERM to k3s (process {found[0]})"


def _processes(proc: Path) -> list[Path]:
    return [path for path in proc.iterdir() if path.name.isdecimal()]


def _comm(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""  # it ended meanwhile
