"""SQLite files of the cache: opened with a format number, set aside when they are damaged."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from hardtack.core.errors import CacheError, DiskFull, FormatError

log = logging.getLogger(__name__)

_LEAST = 64 << 10
"""Bytes that SQLite needs to begin: its shared memory, and a page or two."""


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about the file `path` into the error tree."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise translated(path, error) from error


def translated(path: Path, error: sqlite3.DatabaseError) -> CacheError:
    """What SQLite's `error` about the file `path` is in the error tree."""
    if type(error) is sqlite3.DatabaseError:  # its subclasses are about us or the disk
        return damaged(path, str(error))
    if "full" in str(error) or _is_full(path.parent):  # SQLite may say "disk I/O error"
        return DiskFull(f"{path} can't be written: {error}.", remedy="Free some space on its disk.")
    if _is_read_only(path.parent):  # SQLite says "disk I/O error"
        return CacheError(
            f"{path} can't be written: its disk is read-only.",
            remedy="The kernel's log (dmesg) says why; check the disk, mount it writable again, and"
            " start anew.",
        )
    return CacheError(
        f"{path} can't be used: {error}.",
        remedy="Check that the cache directory is there and writable.",
    )


def _is_full(directory: Path) -> bool:
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _LEAST


def _is_read_only(directory: Path) -> bool:
    """Found by trying: a disk that the kernel made read-only after an error may not show it."""
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def damaged(path: Path, what: str) -> FormatError:
    """The error for a damaged `path`, which the next start sets aside."""
    with contextlib.suppress(OSError):
        _mark(path).touch()
    return FormatError(
        f"{path} is damaged: {what}.",
        remedy="Start again: the damaged file is set aside and rebuilt; cached objects stay.",
    )


def open_database(path: Path, application: int, version: int, schema: str) -> sqlite3.Connection:
    """A connection to `path`, created with `schema` when it isn't there.

    A damaged file is renamed to `<name>.damaged-<n>` and begun anew. Raises FormatError for
    another version, which is left alone, and CacheError.
    """
    if _mark(path).exists():
        _set_aside(path, "an earlier run found damage")
    for attempt in (1, 2):
        try:
            with guarded(path):
                return _open(path, application, version, schema)
        except FormatError as error:
            cause = error.__cause__
            if attempt == 2 or not isinstance(cause, sqlite3.DatabaseError):
                raise
            _set_aside(path, str(cause))
    raise AssertionError("unreachable")


def connect(path: Path) -> sqlite3.Connection:
    """A lean connection in autocommit mode, usable from any thread (one at a time)."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        db.execute("PRAGMA cache_size = -1024")
        db.execute("PRAGMA temp_store = FILE")
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _open(path: Path, application: int, version: int, schema: str) -> sqlite3.Connection:
    db = connect(path)
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        if found == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(
                f"BEGIN; {schema}; PRAGMA application_id = {application};"
                f" PRAGMA user_version = {version}; COMMIT"
            )
        elif found != version or owner != application:
            raise FormatError(
                f"{path} has format {found} of application {owner:#x}; this version knows format"
                f" {version} of {application:#x}.",
                remedy="Use the version of hardtack that wrote it, or another --cache directory.",
            )
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall():
            db.execute(f'SELECT * FROM "{name}" LIMIT 1').fetchone()
    except BaseException:
        db.close()
        raise
    path.chmod(0o600)
    return db


def _mark(path: Path) -> Path:
    return path.with_name(path.name + ".is-damaged")


def _set_aside(path: Path, why: str) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    if path.exists():
        path.rename(aside)
    for companion in ("-wal", "-shm"):
        path.with_name(path.name + companion).unlink(missing_ok=True)
    _mark(path).unlink(missing_ok=True)
    log.warning("%s is damaged (%s); it is now %s and is built anew", path, why, aside.name)
