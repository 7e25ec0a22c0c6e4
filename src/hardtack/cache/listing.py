"""A refresh: a source's listing compared with the catalogue, its changes written as a generation.

The listing is streamed into a temporary table and compared in SQL, so that 100,000 objects cost
no memory; one transaction at the end makes the new generation, or nothing changes.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from hardtack.cache import leftout
from hardtack.cache.api import ROOT, Kind
from hardtack.cache.catalogue import Catalogue, row_sum
from hardtack.cache.database import guarded
from hardtack.cache.keys import MAX_TARGET, bad_target, content_id, place
from hardtack.cache.results import Refresh, Skipped
from hardtack.source.api import ObjectInfo, Source

log = logging.getLogger(__name__)

NAMED_SKIPS = 1000
_TABLES = """
CREATE TEMP TABLE listed(path TEXT PRIMARY KEY, dir TEXT, name TEXT, kind TEXT, key TEXT,
  size INTEGER, etag TEXT, mtime_ns INTEGER, target TEXT, content TEXT, parent INTEGER)
  WITHOUT ROWID;
CREATE TEMP TABLE dirs(path TEXT PRIMARY KEY, id INTEGER) WITHOUT ROWID;
"""
_SAME = """e.parent = l.parent AND e.name = l.name AND e.died IS NULL AND e.kind = l.kind
  AND e.key = l.key AND e.size = l.size AND e.etag = l.etag AND e.mtime_ns = l.mtime_ns"""


class Listing:
    """One refresh of one catalogue from its source."""

    def __init__(self, catalogue: Catalogue, source: Source) -> None:
        self._catalogue, self._source = catalogue, source
        self._skipped: list[Skipped] = []
        self._skips = 0

    def run(self) -> Refresh:
        """List, compare, write. Raises SourceError, CacheError; nothing changes on failure."""
        db = self._catalogue.writer()
        try:
            with guarded(self._catalogue.path):
                db.executescript(_TABLES)
                db.execute("BEGIN")
                for page in self._source.pages():
                    self._stage(db, page)
                self._leave_out(db)
                db.execute("COMMIT")
                self._resolve_links(db)
                db.execute("BEGIN IMMEDIATE")
                return self._write(db)
        finally:
            db.close()

    def _skip(self, key: str, reason: str) -> None:
        self._skips += 1
        if len(self._skipped) < NAMED_SKIPS:
            self._skipped.append(Skipped(key, reason))

    def _stage(self, db: sqlite3.Connection, page: Sequence[ObjectInfo]) -> None:
        directories: set[str] = set()
        rows = list(self._rows(page, directories))
        db.executemany("INSERT OR IGNORE INTO dirs(path) VALUES(?)", ((d,) for d in directories))
        for row in rows:
            sql = "INSERT OR IGNORE INTO listed VALUES(?,?,?,?,?,?,?,?,'',?,NULL)"
            if db.execute(sql, row).rowcount == 0:
                self._skip(str(row[4]), "another key has the same name")

    def _rows(
        self, page: Sequence[ObjectInfo], directories: set[str]
    ) -> Iterator[tuple[object, ...]]:
        for info in page:
            if not info.key:
                continue  # the marker of the prefix itself
            where = place(info.key)
            if isinstance(where, str):
                self._skip(info.key, where)
                continue
            path = f"{where.parent}/{where.name}" if where.parent else where.name
            above = path if where.kind is Kind.DIRECTORY else where.parent
            while above and above not in directories:
                directories.add(above)
                above = above.rpartition("/")[0]
            if where.kind is not Kind.DIRECTORY:
                content = content_id(self._source.url, info) if where.kind is Kind.FILE else None
                yield (path, where.parent, where.name, where.kind, info.key,
                       info.size, info.etag, info.mtime_ns, content)  # fmt: skip

    def _leave_out(self, db: sqlite3.Connection) -> None:
        clash = "FROM listed WHERE path IN (SELECT path FROM dirs)"
        for (key,) in db.execute(f"SELECT key {clash}"):
            self._skip(key, "its name is also that of a directory")
        db.execute(f"DELETE {clash}")
        db.execute("INSERT INTO dirs VALUES('', ?)", (ROOT,))

    def _resolve_links(self, db: sqlite3.Connection) -> None:
        """Read the targets of the links: those known stay, new ones are fetched."""
        known = dict(self._known_links(db))
        columns = "SELECT path, dir, key, size, etag, mtime_ns FROM listed WHERE kind = 'link'"
        links = db.execute(columns).fetchall()
        new = [link for link in links if (link[2], link[4], link[3]) not in known]
        with ThreadPoolExecutor(4, thread_name_prefix="links") as pool:
            fetched = dict(zip((link[0] for link in new), pool.map(self._target, new), strict=True))
        for path, parent, key, size, etag, _ in links:
            target = fetched.get(path) or known.get((key, etag, size), "")
            if reason := bad_target(parent, target):
                self._skip(key, reason)
                db.execute("DELETE FROM listed WHERE path = ?", (path,))
            else:
                db.execute("UPDATE listed SET target = ? WHERE path = ?", (target, path))

    def _known_links(self, db: sqlite3.Connection) -> Iterator[tuple[tuple[str, str, int], str]]:
        sql = "SELECT key, etag, size, target FROM entries WHERE kind = 'link' AND died IS NULL"
        for key, etag, size, target in db.execute(sql):
            yield (key, etag, size), target

    def _target(self, link: tuple[str, str, str, int, str, int]) -> str:
        _, _, key, size, etag, mtime_ns = link
        if not 0 < size <= MAX_TARGET:
            return ""
        body, filled = bytearray(size), 0
        with self._source.stream(ObjectInfo(key, size, etag, mtime_ns), 0, size) as stream:
            while filled < size and (count := stream.readinto(memoryview(body)[filled:])):
                filled += count
        try:
            return body.decode()
        except UnicodeDecodeError:
            return ""

    def _write(self, db: sqlite3.Connection) -> Refresh:
        latest = self._catalogue.latest()
        generation, now = (latest.number if latest else 0) + 1, time.time()
        self._place_directories(db, generation)
        db.execute("UPDATE listed SET parent = (SELECT id FROM dirs WHERE path = listed.dir)")
        removed = db.execute(
            "UPDATE entries SET died = :g WHERE died IS NULL AND kind != 'directory'"
            " AND id NOT IN (SELECT e.id FROM listed l CROSS JOIN entries e INDEXED BY by_name"
            f" WHERE {_SAME})",
            {"g": generation},
        ).rowcount
        removed += db.execute(
            "UPDATE entries SET died = ? WHERE died IS NULL AND kind = 'directory'"
            " AND id NOT IN (SELECT id FROM dirs)",
            (generation,),
        ).rowcount
        added = db.execute(
            "INSERT INTO entries(parent, name, kind, key, size, etag, mtime_ns, target, content,"
            " born, sum) SELECT parent, name, kind, key, size, etag, mtime_ns, target, content, :g,"
            " row_sum(parent, name, kind, key, size, etag, mtime_ns, target) FROM listed l"
            f" WHERE NOT EXISTS (SELECT 1 FROM entries e INDEXED BY by_name WHERE {_SAME})"
            " ORDER BY path",
            {"g": generation},
        ).rowcount
        sql = "SELECT count(*) FROM entries WHERE born = ? AND id != ?"
        added += db.execute(sql + " AND kind = 'directory'", (generation, ROOT)).fetchone()[0]
        if latest is not None and not added and not removed:
            db.execute("UPDATE generations SET checked = ? WHERE number = ?", (now, latest.number))
            generation = latest.number
        else:
            db.execute(
                "INSERT INTO generations SELECT ?, ?, ?, count(*), coalesce(sum(size), 0)"
                " FROM listed",
                (generation, now, now),
            )
        leftout.keep(db, self._skipped, self._skips)
        db.execute("COMMIT")
        return Refresh(generation, added, removed, tuple(self._skipped), self._skips)

    def _place_directories(self, db: sqlite3.Connection, generation: int) -> None:
        """Give each directory its id: the living one's, or a new one. Parents come first."""
        sql = (
            "SELECT id FROM entries WHERE parent = ? AND name = ? AND died IS NULL"
            " AND kind = 'directory'"
        )
        after = ""
        while page := db.execute(
            "SELECT path FROM dirs WHERE path > ? ORDER BY path LIMIT 1000", (after,)
        ).fetchall():
            for (path,) in page:
                above, _, name = path.rpartition("/")
                parent = db.execute("SELECT id FROM dirs WHERE path = ?", (above,)).fetchone()[0]
                found = db.execute(sql, (parent, name)).fetchone()
                id = found[0] if found else _insert_directory(db, parent, name, generation)
                db.execute("UPDATE dirs SET id = ? WHERE path = ?", (id, path))
            after = page[-1][0]


def _insert_directory(db: sqlite3.Connection, parent: int, name: str, generation: int) -> int:
    total = row_sum(parent, name, "directory", "", 0, "", 0, "")
    done = db.execute(
        "INSERT INTO entries(parent, name, kind, key, size, etag, mtime_ns, target, born, sum)"
        " VALUES(?, ?, 'directory', '', 0, '', 0, '', ?, ?)",
        (parent, name, generation, total),
    )
    assert done.lastrowid is not None
    return done.lastrowid


def changed_names(db: sqlite3.Connection, after: int, upto: int) -> Iterator[list[tuple[int, str]]]:
    """(parent id, name) of what generations (after, upto] changed, in lists of at most 1,000."""
    cursor = db.execute(
        "SELECT DISTINCT parent, name FROM entries WHERE (born > ? AND born <= ?)"
        " OR (died > ? AND died <= ?)",
        (after, upto, after, upto),
    )
    while page := cursor.fetchmany(1000):
        yield page
