"""One at a time in a directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardtack.core.errors import BundleError


@contextmanager
def exclusive(directory: Path, busy: str, remedy: str) -> Iterator[None]:
    """Hold the lock of `directory`; it goes with the process, however that ends. Raises BundleError
    with `busy` and `remedy` when another process holds it."""
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(busy, remedy=remedy) from None
        yield
    finally:
        os.close(fd)
