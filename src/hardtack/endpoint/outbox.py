"""Image queries that wait for the cloud: SQLite, pictures included.

Format: docs/formats/queue.md. Bounded in bytes and age; the oldest audits are dropped first, each
drop is counted. An entry is there when `put` returns, after a kill -9 too; a power cut may take
those of the last second (`settle`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardtack.endpoint.database import open_database

FORMAT = 1
_SCHEMA = """
CREATE TABLE entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    audit INTEGER NOT NULL,
    put_at REAL NOT NULL,
    parameters TEXT NOT NULL,
    media TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    picture BLOB NOT NULL
);
CREATE INDEX by_worth ON entries (audit DESC, number);
CREATE TABLE counts (name TEXT PRIMARY KEY, value REAL NOT NULL);
"""
_RESERVE = 32 << 20
"""Bytes of the disk that are held for forgetting: SQLite's journal must fit in beside its file."""
DROPS = ("full_audit", "full_escalation", "old_audit", "old_escalation", "refused")


@dataclass(frozen=True)
class Entry:
    """`parameters` are those of the address, with `image_query_id`."""

    id: str
    audit: bool
    parameters: Mapping[str, str]
    media: str
    picture: bytes


class Outbox:
    """Thread-safe. Age is time in which the endpoint ran: no jump of the clock empties it.

    Methods raise OSError where the disk refuses; nothing is half done then.
    """

    def __init__(
        self, path: Path, *, most_bytes: int = 500_000_000, most_seconds: float = 7 * 86400.0
    ) -> None:
        """Opens or makes the queue. Raises FormatError, OSError."""
        self._most_bytes, self._most_seconds = most_bytes, most_seconds
        self._lock = threading.Lock()
        self._reserve = path.with_suffix(".reserve")
        self._db = open_database(path, FORMAT, _SCHEMA)
        self._keep_reserve()
        self._ran = self._count("ran")
        self._measure()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def put(self, entry: Entry) -> bool:
        """Keep an entry; one with the same id is kept once. False where there is no room."""
        size = len(entry.picture)
        if not self._keep_reserve():
            raise OSError("the queue can't be written: the disk is as good as full")
        with self._writing():
            if self._db.execute("SELECT 1 FROM entries WHERE id = ?", (entry.id,)).fetchone():
                return True
            if not self._make_room(size, entry.audit):
                self._drop("full_audit" if entry.audit else "full_escalation")
                return False
            self._size += 1
            self._bytes += size
            self._db.execute(
                "INSERT INTO entries (id, audit, put_at, parameters, media, bytes, picture)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (entry.id, entry.audit, self._ran, json.dumps(dict(entry.parameters)),
                 entry.media, size, entry.picture),
            )  # fmt: skip
        return True

    def first(self, *, besides: Collection[str] = ()) -> Entry | None:
        """The oldest entry `besides` these."""
        marks = ", ".join("?" * len(besides))
        with self._lock:
            row = self._db.execute(
                "SELECT id, audit, parameters, media, picture FROM entries"
                f" WHERE id NOT IN ({marks}) ORDER BY number LIMIT 1",
                tuple(besides),
            ).fetchone()
        return Entry(row[0], bool(row[1]), json.loads(row[2]), row[3], row[4]) if row else None

    def holds(self, identity: str) -> bool:
        with self._lock:
            query = "SELECT 1 FROM entries WHERE id = ?"
            return self._db.execute(query, (identity,)).fetchone() is not None

    def done(self, identity: str, *, refused: bool = False) -> None:
        """Forget an entry: the cloud has it, or will never take it."""
        try:
            self._forget(identity, refused)
        except OSError:  # a full disk: this is what the reserve is for
            self._reserve.unlink(missing_ok=True)
            self._forget(identity, refused)

    def _forget(self, identity: str, refused: bool) -> None:
        with self._writing():
            if refused:
                self._drop("refused")
            self._delete("id = ?", (identity,))

    def passed(self, seconds: float) -> None:
        """Let time pass: drop what has become too old."""
        with self._writing():
            self._ran += seconds
            self._set("ran", self._ran)
            limit = self._ran - self._most_seconds
            for audit, name in ((1, "old_audit"), (0, "old_escalation")):
                gone = self._delete("audit = ? AND put_at < ?", (audit, limit))
                if gone:
                    self._drop(name, gone)

    def settle(self) -> None:
        """What was put until now survives a power cut."""
        with self._writing():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._keep_reserve()

    def status(self) -> dict[str, Any]:
        """`size` entries, their `bytes`, and how many were `dropped`, by reason."""
        with self._lock:
            return {"size": self._size, "bytes": self._bytes, "dropped": dict(self._counted)}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction. Raises OSError."""
        with self._lock:
            try:
                with self._db:
                    yield
            except sqlite3.Error as error:
                self._measure()
                raise OSError(f"the queue can't be written: {error}") from None

    def _keep_reserve(self) -> bool:
        """Hold a little of the disk, to be given up when forgetting entries needs it; whether it
        is held."""
        if self._reserve.exists():
            return True
        try:
            with self._reserve.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _RESERVE)
        except OSError:
            self._reserve.unlink(missing_ok=True)
            return False
        return True

    def _measure(self) -> None:
        """Count what the disk holds."""
        self._size, self._bytes = self._db.execute(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM entries"
        ).fetchone()
        self._counted = {name: int(self._count(name)) for name in DROPS}

    def _make_room(self, size: int, audit: bool) -> bool:
        """Drop the oldest audits, then for an escalation the oldest escalations."""
        if size > self._most_bytes:
            return False
        while self._bytes + size > self._most_bytes:
            row = self._db.execute(
                "SELECT number, audit FROM entries ORDER BY audit DESC, number LIMIT 1"
            ).fetchone()
            if row is None or (audit and not row[1]):
                return False
            self._delete("number = ?", (row[0],))
            self._drop("full_audit" if row[1] else "full_escalation")
        return True

    def _delete(self, where: str, values: tuple[Any, ...]) -> int:
        gone = self._db.execute(
            f"DELETE FROM entries WHERE {where} RETURNING bytes", values
        ).fetchall()
        self._size -= len(gone)
        self._bytes -= sum(size for (size,) in gone)
        return len(gone)

    def _drop(self, name: str, count: int = 1) -> None:
        self._counted[name] += count
        self._set(name, self._counted[name])

    def _set(self, name: str, value: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO counts VALUES (?, ?)", (name, value))

    def _count(self, name: str) -> float:
        row = self._db.execute("SELECT value FROM counts WHERE name = ?", (name,)).fetchone()
        return row[0] if row else 0.0
