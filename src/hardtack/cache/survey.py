"""How each file of a listing stands on this box, for the proof that a box needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardtack.cache.api import ROOT, Entry, Kind
from hardtack.cache.content import data_path
from hardtack.cache.results import Surveyed
from hardtack.cache.selection import Selection
from hardtack.core.errors import CacheError

if TYPE_CHECKING:
    from hardtack.cache.cache import Cache

_LINKS = 40  # as the kernel
_SMALL = 1 << 20


def survey(cache: Cache, selection: Selection) -> list[Surveyed]:
    """The files that `selection` names; of a link, the file at its end."""
    cache.store.flush()
    return [_look(cache, path, entry, selection.view) for path, entry in selection.entries()]


def peek(cache: Cache, path: str) -> str:
    """The text of a small file of the view that is in the cache and verified. Raises CacheError."""
    entry = None if cache.view is None else _resolve(cache, path, cache.view)
    if entry is None or entry.kind is not Kind.FILE:
        raise CacheError(f"{path} is no file of {cache.source.url}.")
    if entry.size == 0:
        return ""
    id = cache.identity(entry)[0]
    if entry.size > _SMALL or not _sealed(cache, id):
        raise CacheError(f"{path} is not wholly in the cache and verified, or is no small file.")
    try:
        return data_path(cache.directory, id).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CacheError(f"{path} can't be read from the cache: {error}.") from error


def _look(cache: Cache, path: str, entry: Entry, view: int) -> Surveyed:
    found = _resolve(cache, path, view) if entry.kind is Kind.LINK else entry
    if found is None or found.kind is not Kind.FILE:
        return Surveyed(path, 0, 0, False, False, entry.target)
    if found.size == 0:
        return Surveyed(path, 0, 0, True, True, "")
    id = cache.identity(found)[0]
    present = cache.presence(found).present
    return Surveyed(path, found.size, present, _sealed(cache, id), cache.pinned(id), "")


def _sealed(cache: Cache, id: str) -> bool:
    """Whether the content was verified wholly, and nobody touched its file since."""
    row = cache.store.index.get(id)
    if row is None or row.seal is None:
        return False
    try:
        now = data_path(cache.directory, id).stat()
    except OSError:
        return False
    return row.seal == (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def _resolve(cache: Cache, path: str, view: int) -> Entry | None:
    """What `path` leads to, links followed; None where it leads nowhere."""
    entry = cache.catalogue.entry(ROOT)
    way: list[Entry] = []
    pending, links = path.split("/")[::-1], 0
    while pending and entry is not None:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            entry = way.pop() if way else None
            continue
        step = cache.catalogue.lookup(entry.id, name, view)
        if step is not None and step.kind is Kind.LINK:
            links += 1
            if links > _LINKS:
                return None
            pending += step.target.split("/")[::-1]
        else:
            way.append(entry)
            entry = step
    return entry
