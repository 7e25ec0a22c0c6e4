"""What the last listing has and the mount doesn't show, or can't follow: kept with the catalogue,
so that a mount says so from its start on."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence

from hardtack.cache.catalogue import Catalogue
from hardtack.cache.results import LeftOut, Skipped

NAMED = 3
_LINKS = 40  # as the kernel


def keep(db: sqlite3.Connection, skipped: Sequence[Skipped], count: int) -> None:
    """Write it down, within the transaction of a listing whose temporary tables are still there."""
    dangling = _dangling(db)
    found = LeftOut(
        count,
        tuple(f"{one.key!r} ({one.reason})" for one in skipped[:NAMED]),
        len(dangling),
        tuple(f"{path!r} → {target!r}" for path, target in dangling[:NAMED]),
    )
    db.execute("CREATE TABLE IF NOT EXISTS left_out(document TEXT NOT NULL)")
    db.execute("DELETE FROM left_out")
    db.execute("INSERT INTO left_out VALUES(?)", (json.dumps(dataclasses.astuple(found)),))


def read(catalogue: Catalogue) -> LeftOut:
    """What the last listing left out; nothing where it wrote nothing that can be read.

    Raises FormatError.
    """
    try:
        count, first, dangling, first_dangling = json.loads(catalogue.left_out())
    except ValueError:
        return LeftOut()
    return LeftOut(count, tuple(first), dangling, tuple(first_dangling))


def in_words(found: LeftOut) -> list[str]:
    """A sentence for the keys and one for the links, where there are any."""
    said = []
    if found.count:
        keys = "key is" if found.count == 1 else "keys are"
        said.append(f"{found.count} {keys} left out: {_first(found.first, found.count)}")
    if found.dangling:
        links = "link leads" if found.dangling == 1 else "links lead"
        first = _first(found.first_dangling, found.dangling)
        said.append(f"{found.dangling} {links} nowhere: {first}")
    return said


def _first(names: Sequence[str], count: int) -> str:
    more = count - len(names)
    return ", ".join(names) + (f", and {more} more" if more else "")


def _dangling(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """The links of the listing that lead to nothing in it, by path."""

    def exists(path: str) -> bool:
        sql = "SELECT 1 FROM listed WHERE path = ? UNION ALL SELECT 1 FROM dirs WHERE path = ?"
        return db.execute(sql, (path, path)).fetchone() is not None

    links = dict(db.execute("SELECT path, target FROM listed WHERE kind = 'link' ORDER BY path"))
    return [(path, links[path]) for path in links if not _leads(path, links, exists)]


def _leads(link: str, links: Mapping[str, str], exists: Callable[[str], bool]) -> bool:
    pending, at, followed = link.split("/")[::-1], list[str](), 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            del at[-1:]
            continue
        path = "/".join([*at, name])
        if path in links:
            followed += 1
            if followed > _LINKS:
                return False
            pending += links[path].split("/")[::-1]
        else:
            at.append(name)
    return exists("/".join(at))
