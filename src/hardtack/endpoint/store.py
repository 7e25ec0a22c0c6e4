"""The image queries that the box has answered: SQLite, and their pictures as files.

Format: docs/formats/image-queries.md. Bounded in number and in bytes of pictures; the oldest go
first. A power cut may lose the last few, never the store.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardtack.endpoint import exactly
from hardtack.endpoint.behind import Behind
from hardtack.endpoint.database import open_database
from hardtack.endpoint.sparingly import Sparingly

_log = logging.getLogger(__name__)

FORMAT = 1
_FAILURES = (OSError, sqlite3.Error, OverflowError, ValueError)
"""Of a disk, and of a body from the cloud that holds what neither JSON nor SQLite can keep."""
_MOST_BEHIND = 32_000_000
_SCHEMA = """
CREATE TABLE image_queries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    detector_id TEXT NOT NULL,
    created REAL NOT NULL,
    seconds REAL,
    confidence REAL,
    bytes INTEGER NOT NULL,
    media TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX by_detector ON image_queries (detector_id, number);
"""


@dataclass(frozen=True)
class Kept:
    """An image query as the SDK reads it, and its picture. `created`: seconds since 1970;
    `seconds`: what the box's answer took, None for the cloud's."""

    body: Mapping[str, Any]
    picture: bytes
    media: str
    created: float
    seconds: float | None = None

    @property
    def id(self) -> str:
        return str(self.body["id"])

    @property
    def row(self) -> tuple[Any, ...]:
        """Its columns but for the number."""
        confidence = (self.body["result"] or {}).get("confidence")
        return (
            self.id, self.body["detector_id"], self.created, self.seconds, confidence,
            len(self.picture), self.media, exactly.dumps(self.body),
        )  # fmt: skip


class Store:
    """Thread-safe. A write that the disk refuses is told and counted in `lost`, not raised."""

    def __init__(
        self, directory: Path, *, most: int = 10_000, most_bytes: int = 1_000_000_000
    ) -> None:
        """Opens or makes the store. Raises FormatError, OSError."""
        self.lost = 0
        self._trouble = Sparingly(_log)
        self._most, self._most_bytes = most, most_bytes
        self._pictures = directory / "images"
        self._pictures.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = open_database(directory / "image-queries.sqlite", FORMAT, _SCHEMA)
        count, total = self._db.execute(
            "SELECT count(*), coalesce(sum(bytes), 0) FROM image_queries"
        ).fetchone()
        self._count, self._bytes = int(count), int(total)
        self._sweep()
        self._behind = Behind(self._add_all, _MOST_BEHIND)

    def close(self) -> None:
        self._behind.close()
        with self._lock:
            self._db.close()

    def add(self, kept: Kept) -> str:
        """Keep an image query: empty, or why it can't be kept."""
        try:
            self._insert([kept])
        except sqlite3.IntegrityError:  # somebody was first a moment ago
            return ""
        except _FAILURES as error:
            self._lose(kept.id, error)
            with contextlib.suppress(OSError):  # the next start removes it
                self._path(kept.id).unlink()
            if _is_full(error):  # the queries to come are worth more than the oldest
                with self._lock:
                    self._drop_oldest()
            return str(error)
        return ""

    def add_behind(self, kept: Kept) -> None:
        """The same behind the answer, which waits for no disk; whoever asks the store waits until
        it is there. A kill may lose the last few."""
        self._behind.put(kept.id, kept, len(kept.picture))

    def offer_behind(self, kept: Kept) -> bool:
        """The same, where that doesn't wait; else False, and nothing is done."""
        return self._behind.offer(kept.id, kept, len(kept.picture))

    def _add_all(self, some: Sequence[Kept]) -> None:
        """Those of one moment, in one transaction; one by one where that can't be."""
        try:
            self._insert(some)
        except _FAILURES:
            for kept in some:
                self.add(kept)

    def _insert(self, some: Sequence[Kept]) -> None:
        """All of them or none; of one that is there already the first stands.

        Raises OSError, sqlite3.Error.
        """
        some = self._without_known(some)
        for kept in some:
            self._path(kept.id).write_bytes(kept.picture)
        with self._lock:
            with self._db:
                self._db.executemany(
                    "INSERT INTO image_queries (id, detector_id, created, seconds, confidence,"
                    " bytes, media, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    [kept.row for kept in some],
                )
            self._count += len(some)
            self._bytes += sum(len(kept.picture) for kept in some)
            self._prune()

    def _without_known(self, some: Sequence[Kept]) -> list[Kept]:
        """A caller who was not patient may ask the same thing again while it is under way."""
        marks = ", ".join("?" * len(some))
        rows = self._rows(
            f"SELECT id FROM image_queries WHERE id IN ({marks})", [kept.id for kept in some]
        )
        known = {identity for (identity,) in rows}
        return [kept for kept in some if kept.id not in known]

    def change(self, body: Mapping[str, Any], seconds: float | None = None) -> None:
        """Replace what is said of an image query that is kept."""
        self._behind.settle(body["id"])
        result = body["result"] or {}
        try:
            with self._lock, self._db:
                self._db.execute(
                    "UPDATE image_queries SET body = ?, confidence = ?,"
                    " seconds = coalesce(?, seconds) WHERE id = ?",
                    (exactly.dumps(body), result.get("confidence"), seconds, body["id"]),
                )
        except _FAILURES as error:
            self._lose(body["id"], error)

    def give_up(self, reason: str) -> None:
        """Mark as failed those that the box was asked and that nobody will answer any more."""
        self._behind.settle()
        rows = self._rows("SELECT body FROM image_queries WHERE confidence IS NULL", ())
        for body in (exactly.kept(text) for (text,) in rows):
            metadata = body.get("metadata") or {}  # what the cloud has yet to answer stays
            if metadata.get("is_from_edge") and not (body["done_processing"] or body["result"]):
                self.change(failed(body, reason))

    def get(self, identity: str) -> dict[str, Any] | None:
        self._behind.settle(identity)
        rows = self._rows("SELECT body FROM image_queries WHERE id = ?", (identity,))
        return exactly.kept(rows[0][0]) if rows else None

    def picture(self, identity: str) -> tuple[bytes, str] | None:
        """The bytes that were asked about, and their media type."""
        self._behind.settle(identity)
        rows = self._rows("SELECT media FROM image_queries WHERE id = ?", (identity,))
        if not rows:
            return None
        try:
            return self._path(identity).read_bytes(), rows[0][0]
        except FileNotFoundError:
            return None

    def listed(
        self, number: int, size: int, detector: str | None = None
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many there are, and the page `number` (from 1), newest first."""
        self._behind.settle()
        where, values = ("WHERE detector_id = ?", (detector,)) if detector else ("", ())
        total = self._rows(f"SELECT count(*) FROM image_queries {where}", values)[0][0]
        rows = self._rows(
            f"SELECT body FROM image_queries {where} ORDER BY number DESC LIMIT ? OFFSET ?",
            (*values, size, (number - 1) * size),
        )
        return int(total), [exactly.kept(body) for (body,) in rows]

    def confidences(self, detector: str, last: int = 500) -> list[tuple[float, float]]:
        """(confidence, seconds) of a detector's last answers, newest first."""
        self._behind.settle()
        return self._rows(
            "SELECT confidence, seconds FROM image_queries WHERE detector_id = ?"
            " AND confidence IS NOT NULL AND seconds IS NOT NULL ORDER BY number DESC LIMIT ?",
            (detector, last),
        )

    def _rows(self, statement: str, values: Sequence[Any]) -> list[Any]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def _prune(self) -> None:
        """Drop the oldest where a bound is passed."""
        while self._count and (self._count > self._most or self._bytes > self._most_bytes):
            if not self._drop_oldest():
                return

    def _drop_oldest(self) -> bool:
        """Drop the oldest twentieth; pictures first, for they make room on a full disk. False where
        nothing could be dropped, which is told."""
        try:
            oldest = self._db.execute(
                "SELECT number, id, bytes FROM image_queries ORDER BY number LIMIT ?",
                (max(1, self._count // 20),),
            ).fetchall()
            for _, identity, _ in oldest:
                with contextlib.suppress(OSError):  # the next start removes it
                    self._path(identity).unlink()
            with self._db:
                last = oldest[-1][0] if oldest else 0
                self._db.execute("DELETE FROM image_queries WHERE number <= ?", (last,))
        except sqlite3.Error as error:
            self._trouble.error(f"The oldest image queries can't be forgotten: {error}")
            return False
        self._count -= len(oldest)
        self._bytes -= sum(size for _, _, size in oldest)
        return bool(oldest)

    def _sweep(self) -> None:
        """Remove pictures of image queries that a kill left out of the table."""
        known = {identity for (identity,) in self._db.execute("SELECT id FROM image_queries")}
        for path in self._pictures.iterdir():
            if path.name not in known:
                path.unlink()

    def _path(self, identity: str) -> Path:
        return self._pictures / identity

    def _lose(self, identity: str, error: Exception) -> None:
        self.lost += 1
        self._trouble.error(f"The image query {identity} can't be kept: {error}")


def failed(body: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """An image query that will have no answer, and why."""
    return {**body, "metadata": {**body["metadata"], "error": reason}, "done_processing": True}


def _is_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
