"""SQLite files of a known format."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from hardtack.core.errors import CacheBusy, DiskFull, FormatError


def open_database(path: Path, version: int, schema: str) -> sqlite3.Connection:
    """A database of format `version`, made with `schema` where there is none; mode 0600.

    For use under a lock, by any thread. A kill loses nothing that was committed; a power cut may
    lose what came after the last checkpoint, never more. Raises FormatError, CacheBusy, OSError.
    """
    path.touch(mode=0o600)
    os.chmod(path, 0o600)
    db = sqlite3.connect(path, check_same_thread=False, timeout=5)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        found = _made(db, version, schema)
    except sqlite3.DatabaseError as error:
        db.close()
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise CacheBusy(
                f"{path} is in use by another process.", remedy="End that process first."
            ) from None
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise DiskFull(
                f"{path} can't be written: {error}.", remedy="Free some space on its disk."
            ) from None
        raise FormatError(
            f"{path} is damaged: {error}.", remedy="Move it away to begin anew."
        ) from None
    if found != version:
        db.close()
        raise FormatError(
            f"{path} has format {found}; this hardtack knows format {version}.",
            remedy="Upgrade hardtack, or move the file away to begin anew.",
        )
    return db


def _made(db: sqlite3.Connection, version: int, schema: str) -> int:
    """The database's format, once it has one: asked and given in one transaction, as another
    process may open the same new file."""
    db.execute("BEGIN IMMEDIATE")
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found == 0:
        for statement in schema.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={version}")
    db.commit()
    return int(found) or version
