"""The product as somebody else, wherever the checkout and the interpreter lie."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import clean_environment

ROOT = Path(__file__).parents[2]
_OPENED = """
[ "$1" = -- ] || mount -t tmpfs none /mnt
for place; do
    [ "$place" = -- ] && break
    mkdir -p "/mnt$place"
    mount --bind "$place" "/mnt$place"
done
while [ "$1" != -- ]; do
    top=${1#/}
    top=/${top%%/*}
    [ -e "/mnt/opened$top" ] || mount -t tmpfs -o mode=755 none "$top"
    mkdir -p "/mnt/opened$top"
    mkdir -p "$1"
    mount --bind "/mnt$1" "$1"
    shift
done
shift
exec "$@"
"""


def as_other(user: int, *words: str | Path) -> list[str]:
    """The command `words` of user number `user`, who has no rights (root only).

    A checkout or an interpreter in a home that is closed to others, as /root is, is put in open
    directories at the same place, in a mount namespace of the command's own.
    """
    closed = [str(place) for place in (ROOT, Path(sys.base_prefix)) if not _reached(place)]
    opened = ["sh", "-ec", _OPENED, "sh", *closed, "--"]
    other = ["setpriv", f"--reuid={user}", "--clear-groups"]
    return ["unshare", "--mount", *opened, *other, *map(str, words)]


def run_as_other(*words: str | Path, cwd: str | Path = "/") -> subprocess.CompletedProcess[str]:
    """What comes of the command `words` of somebody who has no rights (root only)."""
    return subprocess.run(
        as_other(65534, *words), env=clean_environment(), cwd=cwd,
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip


@contextmanager
def open_to_all(directory: Path) -> Iterator[None]:
    """Anybody may go to `directory`, of a test, for a while. One test at a time: those side by side
    share directories above theirs."""
    gate = os.open(tempfile.gettempdir(), os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        closed = [p for p in (directory, *directory.parents) if not p.stat().st_mode & 0o001]
        modes = [(place, place.stat().st_mode & 0o7777) for place in closed]
        for place, mode in modes:
            place.chmod(mode | 0o011)
        try:
            yield
        finally:
            for place, mode in modes:
                place.chmod(mode)
    finally:
        os.close(gate)


def _reached(place: Path) -> bool:
    """Whether anybody may go through all of its directories."""
    return all(part.stat().st_mode & 0o001 for part in (place, *place.parents))
