"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from hardtack.core.errors import ConfigError


def make_directory(directory: Path) -> None:
    """Have `directory` exist and be ours to write in, before anything costly is begun.
    Raises ConfigError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if os.access(directory, os.W_OK | os.X_OK):
            return
        read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
        reason = os.strerror(errno.EROFS if read_only else errno.EACCES)
    except OSError as error:
        reason = error.strerror or str(error)
    raise ConfigError(
        f"Nothing can be written into {directory}: {reason}.",
        remedy="Name another directory, or change its owner or mode.",
    )


def fsync_directory(directory: Path) -> None:
    """Make renames in `directory` survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data` so that a crash leaves the old file or the new one, whole."""
    temporary = path.parent / f".{path.name}.{os.urandom(8).hex()}"
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        error.filename = str(path)  # what a person named
        raise
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write doesn't know what it writes
        raise
    fsync_directory(path.parent)
