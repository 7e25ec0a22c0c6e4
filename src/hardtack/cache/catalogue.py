"""What the box knows of a source: entries with life spans, generations, releases. In SQLite.

An entry is alive in generation g when born <= g and it hasn't died by g. Each row has a checksum,
so that a flipped byte is an error and never a wrong size or name. See docs/formats/catalogue.md.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardtack.cache.api import ROOT, Entry, Kind
from hardtack.cache.database import connect, damaged, guarded, open_database, translated
from hardtack.core.errors import CacheError, ConfigError

APPLICATION = 0x48544B43  # "HTKC"
VERSION = 1
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
KNOWN = 256
"""Entries kept in memory, by id: each read of an open file asks for one. They never change."""
BASES, IDS = 1 << 23, 1 << 24
"""A new catalogue's ids begin at one of so many places, with so many ids each. Where it takes the
place of one that was lost while it was mounted, the kernel and open files know ids of that one:
none of them may be another object's."""
FIELDS = "id, parent, name, kind, key, size, etag, mtime_ns, target, sum"
ALIVE = "born <= :view AND (died IS NULL OR died > :view)"
_KEPT = (
    "FROM entries e JOIN releases r ON e.born <= r.generation"
    " AND (e.died IS NULL OR e.died > r.generation) WHERE e.content = :content"
)
KEEPS = f"SELECT 1 {_KEPT} LIMIT 1"
_LOOKUP = (
    f"SELECT {FIELDS} FROM entries INDEXED BY by_name"
    f" WHERE parent = :parent AND name = :name AND {ALIVE} AND id != {ROOT}"
)
_CHILDREN = (
    f"SELECT {FIELDS} FROM entries INDEXED BY by_parent"
    f" WHERE parent = :parent AND id > :after AND {ALIVE} AND id != {ROOT}"
    " ORDER BY id LIMIT :limit"
)
_KINDS = {str(kind): kind for kind in Kind}
_SCHEMA = f"""
CREATE TABLE source(url TEXT NOT NULL);
CREATE TABLE generations(number INTEGER PRIMARY KEY, at REAL NOT NULL, checked REAL NOT NULL,
  objects INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE entries(id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER NOT NULL,
  name TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL,
  etag TEXT NOT NULL, mtime_ns INTEGER NOT NULL, target TEXT NOT NULL, content TEXT,
  born INTEGER NOT NULL, died INTEGER, sum INTEGER NOT NULL);
CREATE TABLE releases(name TEXT PRIMARY KEY, generation INTEGER NOT NULL, created REAL NOT NULL);
CREATE INDEX by_name ON entries(parent, name);
CREATE INDEX by_parent ON entries(parent);
CREATE INDEX by_content ON entries(content) WHERE content IS NOT NULL;
INSERT INTO entries(id, parent, name, kind, key, size, etag, mtime_ns, target, born, sum)
  VALUES({ROOT}, {ROOT}, '', 'directory', '', 0, '', 0, '', 0, {{root_sum}});
UPDATE sqlite_sequence SET seq = {{base}} WHERE name = 'entries'
"""


def row_sum(
    parent: int, name: str, kind: str, key: str, size: int, etag: str, mtime_ns: int, target: str
) -> int:
    """CRC-32 over an entry's fields."""
    text = f"{parent}\0{name}\0{kind}\0{key}\0{size}\0{etag}\0{mtime_ns}\0{target}"
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def unknown_release(name: str, known: Iterable[str] = ()) -> ConfigError:
    """There is no release `name`."""
    return ConfigError(
        f"there is no release {name!r}; known: {', '.join(known) or 'none'}.",
        remedy="Keep the current generation with `hardtack pin SOURCE NAME`.",
    )


@dataclass(frozen=True, slots=True)
class Generation:
    """A listing: number, when it began to hold and was last confirmed, objects and bytes."""

    number: int
    at: float
    checked: float
    objects: int
    bytes: int


class Catalogue:
    """The catalogue of one source. Thread-safe; every method raises FormatError on damage."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        root_sum = row_sum(ROOT, "", "directory", "", 0, "", 0, "")
        schema = _SCHEMA.format(root_sum=root_sum, base=secrets.randbelow(BASES) * IDS)
        self._db = open_database(path, APPLICATION, VERSION, schema)
        self._lock = threading.Lock()
        self._known: dict[int, Entry] = {}
        try:
            self._bind(url)
        except BaseException:
            self._db.close()
            raise

    def _bind(self, url: str) -> None:
        found = self._rows("SELECT url FROM source")
        if not found:
            self._rows("INSERT INTO source VALUES(:url)", url=url)
        elif found[0][0] != url:
            raise CacheError(
                f"{self.path} is the catalogue of {found[0][0]}, not of {url}.",
                remedy="Use another --cache directory.",
            )

    def _rows(self, sql: str, /, **values: Any) -> list[Any]:
        try:
            with self._lock:
                return self._db.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise translated(self.path, error) from error

    def writer(self) -> sqlite3.Connection:
        """A connection of its own for a long transaction; the caller closes it."""
        with guarded(self.path):
            db = connect(self.path)
            db.create_function("row_sum", 8, row_sum, deterministic=True)
            return db

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- tree

    def entry(self, id: int) -> Entry | None:
        """The entry with this id, of any generation that is kept."""
        found = self._known.get(id)
        if found is None:
            rows = self._rows(f"SELECT {FIELDS} FROM entries WHERE id = :id", id=id)
            if not rows:
                return None
            found = self._entry(rows[0])
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[id] = found
        return found

    def lookup(self, parent: int, name: str, view: int) -> Entry | None:
        """The entry `name` in the directory `parent` in generation `view`."""
        rows = self._rows(_LOOKUP, parent=parent, name=name, view=view)
        return self._entry(rows[0]) if rows else None

    def children(self, parent: int, after: int, limit: int, view: int) -> list[Entry]:
        """At most `limit` entries of a directory with id > `after`, by id."""
        rows = self._rows(_CHILDREN, parent=parent, after=after, limit=limit, view=view)
        return [self._entry(row) for row in rows]

    def walk(self, view: int) -> Iterator[tuple[str, Entry]]:
        """(path, entry) of everything below the root in `view`, directories before their own."""
        pending = [("", ROOT)]
        while pending:
            prefix, parent = pending.pop()
            after = 0
            while page := self.children(parent, after, 1000, view):
                for entry in page:
                    path = prefix + entry.name
                    yield path, entry
                    if entry.kind is Kind.DIRECTORY:
                        pending.append((path + "/", entry.id))
                after = page[-1].id

    def path_of(self, entry: Entry) -> str:
        """The path of `entry` from the root, with `/`."""
        names: list[str] = []
        step: Entry | None = entry
        while step is not None and step.id != ROOT and len(names) < 4096:
            names.append(step.name)
            step = self.entry(step.parent)
        return "/".join(reversed(names))

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        id, parent, name, kind, key, size, etag, mtime_ns, target, total = row
        if row_sum(parent, name, kind, key, size, etag, mtime_ns, target) != total:
            raise damaged(self.path, f"the checksum of entry {id} doesn't hold")
        return Entry(id, parent, name, _KINDS[kind], key, size, etag, mtime_ns, target)

    # -- content

    def of_content(self, content: str) -> Entry | None:
        """The youngest file with this content id."""
        sql = f"SELECT {FIELDS} FROM entries WHERE content = :content ORDER BY id DESC LIMIT 1"
        rows = self._rows(sql, content=content)
        return self._entry(rows[0]) if rows else None

    def path_of_content(self, content: str) -> str:
        """The path of the youngest file with this content id; empty where there is none."""
        entry = self.of_content(content)
        return self.path_of(entry) if entry else ""

    def keeps(self, content: str) -> bool:
        """Whether a release holds this content."""
        return bool(self._rows(KEEPS, content=content))

    def kept_by(self, content: str) -> list[str]:
        """The releases that hold this content, by name."""
        sql = f"SELECT DISTINCT r.name {_KEPT} ORDER BY r.name"
        return [name for (name,) in self._rows(sql, content=content)]

    def lists(self, content: str, view: int) -> bool:
        """Whether a file of `view` has this content."""
        sql = f"SELECT 1 FROM entries WHERE content = :content AND {ALIVE} LIMIT 1"
        return bool(self._rows(sql, content=content, view=view))

    def contents(self, view: int) -> Iterator[str]:
        """The distinct content ids of the files of `view`."""
        after = ""
        sql = (
            "SELECT DISTINCT content FROM entries INDEXED BY by_content"
            f" WHERE content > :after AND {ALIVE} ORDER BY content LIMIT 1000"
        )
        while page := self._rows(sql, after=after, view=view):
            yield from (row[0] for row in page)
            after = page[-1][0]

    def totals(self, view: int) -> tuple[int, int]:
        """(count, bytes) of the files of `view`."""
        sql = "SELECT count(*), coalesce(sum(size), 0) FROM entries WHERE kind = 'file'"
        found: tuple[int, int] = self._rows(f"{sql} AND {ALIVE}", view=view)[0]
        return found

    # -- generations and releases

    def latest(self) -> Generation | None:
        """The youngest generation; None before the first listing."""
        sql = "SELECT number, at, checked, objects, bytes FROM generations"
        rows = self._rows(sql + " ORDER BY number DESC LIMIT 1")
        return Generation(*rows[0]) if rows else None

    def generation(self, number: int) -> Generation | None:
        """The generation `number`."""
        sql = "SELECT number, at, checked, objects, bytes FROM generations WHERE number = :number"
        rows = self._rows(sql, number=number)
        return Generation(*rows[0]) if rows else None

    def left_out(self) -> str:
        """What the last listing wrote down of what it left out; empty where it wrote nothing."""
        if not self._rows("SELECT 1 FROM sqlite_schema WHERE name = 'left_out'"):
            return ""
        rows = self._rows("SELECT document FROM left_out")
        return str(rows[0][0]) if rows else ""

    def releases(self) -> list[tuple[str, int, float]]:
        """(name, generation, created) by name."""
        return self._rows("SELECT name, generation, created FROM releases ORDER BY name")

    def release(self, name: str) -> int:
        """The generation of release `name`. Raises ConfigError naming the known ones."""
        known = {found: generation for found, generation, _ in self.releases()}
        if name not in known:
            raise unknown_release(name, known)
        return known[name]

    def pin(self, name: str, generation: int) -> None:
        """Name a generation. Raises ConfigError for a name that is none, or another's."""
        if not _RELEASE.fullmatch(name):
            raise ConfigError(
                f"{name!r} can't be the name of a release.",
                remedy="Use at most 128 of letters, digits, '.', '_', '-' and '+', the first a "
                "letter or a digit, such as 2026-11.",
            )
        for found, held, _ in self.releases():
            if found == name and held != generation:
                raise ConfigError(
                    f"release {name!r} already names generation {held}.",
                    remedy=f"Choose another name, or `hardtack unpin SOURCE {name}` first.",
                )
        sql = "INSERT OR IGNORE INTO releases VALUES(:name, :generation, :now)"
        self._rows(sql, name=name, generation=generation, now=time.time())

    def unpin(self, name: str) -> None:
        """Forget a release's name. Raises ConfigError when there is none."""
        self.release(name)
        self._rows("DELETE FROM releases WHERE name = :name", name=name)

    def purge(self, view: int, before: float, held: Sequence[int]) -> None:
        """Forget entries that died before `view` and the time `before` (seconds since 1970),
        and that no release and no handle holds."""
        sql = (
            "DELETE FROM entries WHERE died < :view AND died IN (SELECT number FROM generations"
            " WHERE at < :before) AND id NOT IN (SELECT value FROM json_each(:held))"
            " AND NOT EXISTS (SELECT 1 FROM releases r WHERE born <= r.generation"
            " AND died > r.generation)"
        )
        self._rows(sql, view=view, before=before, held=str(list(held)))
        self._known.clear()
