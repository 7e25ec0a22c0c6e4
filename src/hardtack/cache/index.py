"""What is in the content directory: sizes, seals, last use. In SQLite, rebuilt when it is damaged.

Nothing here can't be found again from the chunk maps, but for the seals; without its seal a
content is checked once more.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardtack.cache.chunkmap import DamagedMap, Identity, unpack_header, unpack_records
from hardtack.cache.content import Fingerprint
from hardtack.cache.database import guarded, open_database
from hardtack.core.errors import CacheError, DiskFull, FormatError

APPLICATION = 0x48544B58  # "HTKX"
VERSION = 1
_SCHEMA = """
CREATE TABLE contents(id TEXT PRIMARY KEY, source TEXT NOT NULL, key TEXT NOT NULL,
  etag TEXT NOT NULL, size INTEGER NOT NULL, present INTEGER NOT NULL, used REAL NOT NULL,
  ino INTEGER, fsize INTEGER, mtime_ns INTEGER, ctime_ns INTEGER) WITHOUT ROWID;
CREATE INDEX by_use ON contents(used);
CREATE TABLE not_md5(source TEXT PRIMARY KEY)
"""
_FIELDS = "id, source, key, etag, size, present, used, ino, fsize, mtime_ns, ctime_ns"


@dataclass(frozen=True, slots=True)
class Row:
    """One content: `seal` is the fingerprint that it had when it was verified wholly."""

    id: str
    identity: Identity
    present: int
    used: float
    seal: Fingerprint | None


class Index:
    """The table of contents. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "content.db"
        fresh = not self.path.exists()
        self._db = open_database(self.path, APPLICATION, VERSION, _SCHEMA)
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}
        if fresh or not self._rows("SELECT 1 FROM contents LIMIT 1"):
            self._rebuild(directory / "content")

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with guarded(self.path), self._lock:
            return self._db.execute(sql, values).fetchall()

    def _rebuild(self, content: Path) -> None:
        for path in content.glob("??/*.map"):
            try:
                text = path.read_bytes()
                header, length = unpack_header(text)
            except (DamagedMap, FormatError, OSError):
                continue
            chunks = unpack_records(text[length:], header.chunks)
            self.add(path.stem, header.identity)
            self.present(path.stem, sum(map(header.length_of, chunks)))

    def close(self) -> None:
        self.flush()
        with self._lock:
            self._db.close()

    def get(self, id: str) -> Row | None:
        """The row of `id`."""
        rows = self._rows(f"SELECT {_FIELDS} FROM contents WHERE id = ?", id)
        return _row(rows[0]) if rows else None

    def add(self, id: str, who: Identity) -> None:
        """There is content `id`; nothing changes when it is known."""
        self._rows(
            "INSERT OR IGNORE INTO contents VALUES(?,?,?,?,?,0,?,NULL,NULL,NULL,NULL)",
            id, who.source, who.key, who.etag, who.size, time.time(),
        )  # fmt: skip

    def present(self, id: str, count: int) -> None:
        """So many bytes of `id` are there."""
        self._rows("UPDATE contents SET present = ? WHERE id = ?", count, id)

    def seal(self, id: str, mark: Fingerprint | None) -> None:
        """`id` was verified wholly and had this fingerprint; None takes the seal away."""
        sql = "UPDATE contents SET ino = ?, fsize = ?, mtime_ns = ?, ctime_ns = ? WHERE id = ?"
        self._rows(sql, *(mark or (None,) * 4), id)

    def remove(self, id: str) -> None:
        self._rows("DELETE FROM contents WHERE id = ?", id)

    def use(self, id: str) -> None:
        """`id` is used now; written with the next flush."""
        self._used[id] = time.time()

    def flush(self) -> None:
        """Write the times of use."""
        with self._lock:
            used, self._used = self._used, {}
            if not used:
                return
            try:
                with guarded(self.path):
                    self._db.execute("BEGIN")
                    sql = "UPDATE contents SET used = ? WHERE id = ?"
                    self._db.executemany(sql, [(at, id) for id, at in used.items()])
                    self._db.execute("COMMIT")
            except CacheError:
                if self._db.in_transaction:
                    self._db.rollback()
                raise

    def oldest_first(self) -> Iterator[Row]:
        """All rows, least recently used first."""
        with contextlib.suppress(DiskFull):  # who makes room asks this: old times of use must do
            self.flush()
        after = (-1.0, "")
        sql = f"SELECT {_FIELDS} FROM contents WHERE (used, id) > (?, ?) ORDER BY used, id"
        while page := self._rows(sql + " LIMIT 500", *after):
            yield from map(_row, page)
            after = (page[-1][6], page[-1][0])

    def totals(self) -> tuple[int, int, int]:
        """(bytes present, contents sealed, contents not sealed but begun)."""
        sql = (
            "SELECT coalesce(sum(present), 0), count(ino),"
            " coalesce(sum(ino IS NULL AND present > 0), 0) FROM contents"
        )
        found: tuple[int, int, int] = self._rows(sql)[0]
        return found

    def etags_are_md5(self, source: str) -> bool:
        """Whether single-part ETags of `source` are still believed to be MD5s."""
        return not self._rows("SELECT 1 FROM not_md5 WHERE source = ?", source)

    def disbelieve_etags(self, source: str) -> None:
        """An ETag of `source` was proven to be no MD5 (encryption at the store)."""
        self._rows("INSERT OR IGNORE INTO not_md5 VALUES(?)", source)


def _row(row: sqlite3.Row | tuple[Any, ...]) -> Row:
    id, source, key, etag, size, present, used, *mark = row
    seal = (mark[0], mark[1], mark[2], mark[3]) if mark[0] is not None else None
    return Row(id, Identity(source, key, etag, size), present, used, seal)
