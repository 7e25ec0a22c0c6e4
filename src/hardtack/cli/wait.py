"""`hardtack wait`: until files of a mount are on the box."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import click

from hardtack.cli.options import DURATION, MOUNTPOINT
from hardtack.cli.output import print_line
from hardtack.cli.progress import shown
from hardtack.core.errors import MountpointError
from hardtack.core.progress import Progress
from hardtack.mount import waiting
from hardtack.mount.mountinfo import absolute, mounted_at

log = logging.getLogger("hardtack.wait")
_POLL = 1.0
_AGAIN = 5.0


@click.command()
@click.argument("mountpoint", type=MOUNTPOINT)
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--timeout", type=DURATION, default="30m", show_default=True, envvar="HARDTACK_WAIT_TIMEOUT",
    show_envvar=True, help="Give up after this.",
)  # fmt: skip
@click.option(
    "--fetch/--no-fetch", default=True, show_default=True, envvar="HARDTACK_WAIT_FETCH",
    help="Read what is missing, so that the mount fetches it; else only wait for others.",
)  # fmt: skip
def wait(mountpoint: Path, paths: tuple[str, ...], timeout: float, fetch: bool) -> None:
    """Wait until the mount on MOUNTPOINT answers and PATHS on it are complete.

    PATHS are files, globs (** for any depth) or directories, on the mount or relative to it. Exit 0
    when all of them are here, 1 with what is missing when the time is up.
    """
    point = absolute(str(mountpoint))
    if not mounted_at(point) and Path(point).is_file():
        raise MountpointError(
            f"{point} is a file, where a mountpoint is expected.",
            remedy="Give the mountpoint first: hardtack wait MOUNTPOINT PATH…",
        )
    patterns = waiting.inside(point, paths)
    deadline = time.monotonic() + timeout
    with shown("waiting for files") as progress:
        last = _Waiter(point, patterns, progress, fetch).wait(deadline)
    if last.complete:
        return
    click.echo(f"hardtack: not complete after {timeout:g} s:", err=True)
    for line in last.missing():
        print_line(f"  {line}", err=True)
    sys.exit(1)


class _Waiter:
    """Looks again and again, and has at most one child read what is missing."""

    def __init__(
        self, point: str, patterns: tuple[str, ...], progress: Progress, fetch: bool
    ) -> None:
        self._point, self._patterns = point, patterns
        self._progress, self._fetch = progress, fetch
        self._seen: dict[str, int] = {}
        self._reader: subprocess.Popen[bytes] | None = None
        self._read_again = 0.0
        self._told = ""

    def wait(self, deadline: float) -> waiting.Look:
        """The last look: complete, or that at the deadline."""
        try:
            while True:
                left = deadline - time.monotonic()
                found = waiting.look(self._point, self._patterns, max(0.5, min(5.0, left)))
                self._tell(found)
                if found.complete or time.monotonic() >= deadline:
                    return found
                if self._fetch and found.answers:
                    self._read(found)
                time.sleep(max(0.0, min(_POLL, deadline - time.monotonic())))
        finally:
            if self._reader is not None and self._reader.poll() is None:
                waiting.end(self._reader)

    def _read(self, found: waiting.Look) -> None:
        if self._reader is not None and self._reader.poll() is None:
            return
        missing = [file for file in found.files if not file.complete]
        if missing and time.monotonic() >= self._read_again:
            self._reader = waiting.fetching(self._point, missing)
            self._read_again = time.monotonic() + _AGAIN

    def _tell(self, found: waiting.Look) -> None:
        what = found.why
        if found.unmatched:
            what = f"not on the mount yet: {', '.join(found.unmatched)}"
        if what and what != self._told:
            log.info("%s", what)
        self._told = what
        for file in found.files:
            if file.path not in self._seen:
                self._progress.task(file.path, file.size)
            before = self._seen.get(file.path, 0)
            self._seen[file.path] = max(before, file.present)
            self._progress.advance(file.path, self._seen[file.path] - before)
            if file.complete and before < file.size:
                self._progress.done(file.path)
