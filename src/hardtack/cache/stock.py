"""The contents that are in a cache directory, of whatever source: listed, and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hardtack.cache.catalogue import Catalogue
from hardtack.cache.index import Row
from hardtack.cache.results import Content, Evicted
from hardtack.cache.selection import matches
from hardtack.cache.store import Store


def evict(catalogue: Catalogue, store: Store, patterns: Sequence[str]) -> Evicted:
    """Remove the contents that `patterns` name, but those that must stay."""
    files = freed = kept = 0
    for _, row in _named(catalogue, store, patterns):
        given_back = store.remove(row)
        if given_back is None:
            kept += 1
        else:
            files, freed = files + 1, freed + given_back
    return Evicted(files, freed, kept)


def contents(catalogue: Catalogue, store: Store, pinned: Callable[[str], bool]) -> list[Content]:
    """What is in the directory, least recently used first."""
    return [
        Content(
            path=path,
            key=row.identity.key,
            etag=row.identity.etag,
            size=row.identity.size,
            present=row.present,
            complete=row.present == row.identity.size,
            pinned=pinned(row.id),
            used=row.used,
        )
        for path, row in _named(catalogue, store, ())
    ]


def _named(
    catalogue: Catalogue, store: Store, patterns: Sequence[str]
) -> Iterator[tuple[str, Row]]:
    store.flush()
    for row in list(store.index.oldest_first()):
        path = catalogue.path_of_content(row.id) or row.identity.key
        if matches(path, patterns):
            yield path, row
