"""How each file of a listing stands on this box, for the proof that a box needs no network."""

from __future__ import annotations

from collections.abc import Callable

from hardtack.cache.api import ROOT, Entry, Kind
from hardtack.cache.catalogue import Catalogue
from hardtack.cache.content import data_path, fingerprint_of
from hardtack.cache.keys import identity_of
from hardtack.cache.results import Surveyed
from hardtack.cache.selection import Selection
from hardtack.cache.store import Store
from hardtack.core.errors import CacheError

_LINKS = 40  # as the kernel
_SMALL = 1 << 20


class Surveyor:
    """Looks at the files of a source, and touches nothing. `pinned` says whether a release holds
    a content id."""

    def __init__(self, catalogue: Catalogue, store: Store, pinned: Callable[[str], bool]) -> None:
        self._catalogue, self._store, self._pinned = catalogue, store, pinned

    def survey(self, selection: Selection) -> list[Surveyed]:
        """The files that `selection` names; of a link, the file at its end."""
        self._store.flush()
        return [self._look(path, entry, selection.view) for path, entry in selection.entries()]

    def peek(self, path: str, view: int | None) -> str:
        """The text of a small file of generation `view` that is in the cache and verified.

        Raises CacheError.
        """
        entry = None if view is None else self._resolve(path, view)
        if entry is None or entry.kind is not Kind.FILE:
            raise CacheError(f"{path} is no file of {self._store.source}.")
        if entry.size == 0:
            return ""
        id, _ = identity_of(self._store.source, entry)
        if entry.size > _SMALL or not self._sealed(id):
            raise CacheError(
                f"{path} is not wholly in the cache and verified, or is no small file."
            )
        try:
            return data_path(self._store.directory, id).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CacheError(f"{path} can't be read from the cache: {error}.") from error

    def _look(self, path: str, entry: Entry, view: int) -> Surveyed:
        found = self._resolve(path, view) if entry.kind is Kind.LINK else entry
        if found is None or found.kind is not Kind.FILE:
            return Surveyed(path, 0, 0, False, False, entry.target)
        if found.size == 0:
            return Surveyed(path, 0, 0, True, True, "")
        id, _ = identity_of(self._store.source, found)
        present = self._store.presence(found).present
        return Surveyed(path, found.size, present, self._sealed(id), self._pinned(id), "")

    def _sealed(self, id: str) -> bool:
        """Whether the content was verified wholly, and nobody touched its file since."""
        row = self._store.index.get(id)
        if row is None or row.seal is None:
            return False
        try:
            now = data_path(self._store.directory, id).stat()
        except OSError:
            return False
        return row.seal == fingerprint_of(now)

    def _resolve(self, path: str, view: int) -> Entry | None:
        """What `path` leads to, links followed; None where it leads nowhere."""
        entry = self._catalogue.entry(ROOT)
        way: list[Entry] = []
        pending, links = path.split("/")[::-1], 0
        while pending and entry is not None:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                entry = way.pop() if way else None
                continue
            step = self._catalogue.lookup(entry.id, name, view)
            if step is not None and step.kind is Kind.LINK:
                links += 1
                if links > _LINKS:
                    return None
                pending += step.target.split("/")[::-1]
            else:
                way.append(entry)
                entry = step
        return entry
