"""Contents looked at one by one: verified, repaired, listed, evicted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from hardtack.cache.chunkmap import Identity
from hardtack.cache.content import ContentFile
from hardtack.cache.index import Row
from hardtack.cache.results import Content, Damage, Evicted, Verified
from hardtack.cache.selection import matches
from hardtack.core.errors import CacheError, FormatError, HardtackError
from hardtack.core.progress import Progress
from hardtack.source.api import ObjectInfo

if TYPE_CHECKING:
    from hardtack.cache.cache import Cache

log = logging.getLogger(__name__)


def path_of(cache: Cache, id: str, identity: Identity) -> str:
    """The path of a content's youngest name; its key when the catalogue doesn't know it."""
    entry = cache.catalogue.of_content(id)
    return cache.catalogue.path_of(entry) if entry else identity.key


class Scrubbed(NamedTuple):
    """What a check of one content found: chunks that are bad now, and how many were before and are
    still missing."""

    bad: list[int]
    missing: int


def verify(cache: Cache, repair: bool, progress: Progress) -> Verified:
    """Read every chunk that is there; a bad one becomes a hole, and is fetched with `repair`.

    What the source has replaced can't be fetched any more: with `repair` it goes, if nothing keeps
    it. Without, the listing that is here says what was replaced.
    """
    files = total = 0
    outdated = _Outdated(cache, ask=repair)
    bad: list[Damage] = []
    cache.store.flush()

    def read(count: int) -> None:
        nonlocal total
        total += count
        progress.advance(path, count)

    for row in list(cache.store.index.oldest_first()):
        path = path_of(cache, row.id, row.identity)
        progress.task(path, row.present)
        try:
            found = scrub(cache, row, read)
        except (FormatError, CacheError):
            bad.append(Damage(path, -1, False))
            continue
        files += 1
        repaired = any(found) and repair and refetch(cache, row)
        lost = any(found) and not repaired and outdated(row)
        replaced = lost and repair and not cache.keeps(row.id)
        kept = ", ".join(cache.catalogue.kept_by(row.id)) if lost else ""
        bad += [Damage(path, chunk, repaired, 0, replaced, kept) for chunk in found.bad]
        if found.missing:
            bad.append(Damage(path, -1, repaired, found.missing, replaced, kept))
        if replaced:
            cache.store.remove(row)
        progress.done(path)
    return Verified(files, total, tuple(bad))


class _Outdated:
    """Says of a content whether the source lists it no more.

    With `ask` the source is asked for its listing once, when the first question comes.
    """

    def __init__(self, cache: Cache, ask: bool) -> None:
        self._cache, self._ask = cache, ask

    @cached_property
    def _latest(self) -> int | None:
        if not self._ask:
            known = self._cache.catalogue.latest()
            return known.number if known else None
        try:
            return self._cache.refresh().generation
        except HardtackError as error:
            log.warning("what can't be repaired stays, as the source can't be listed: %s", error)
            return None

    def __call__(self, row: Row) -> bool:
        cache = self._cache
        if row.identity.source != cache.source.url or self._latest is None:
            return False
        return not cache.catalogue.lists(row.id, self._latest)


def scrub(cache: Cache, row: Row, read: Callable[[int], None]) -> Scrubbed:
    """Check each chunk of a content; a bad one becomes a hole, which its map remembers.

    `read` is told the bytes of each chunk. Raises FormatError, CacheError.
    """
    content = cache.store.open(row.id, row.identity)
    if lost := row.seal is not None and not content.complete:
        content.lose()
    missing, bad = len(content.bad), []
    for chunk in sorted(content.sums):
        if not content.check(chunk) and chunk in content.bad:
            bad.append(chunk)
        read(content.header.length_of(chunk))
    if bad or lost:
        cache.counters.add(bad_chunks=len(bad) or 1)
        cache.store.index.seal(row.id, None)
        cache.store.index.present(row.id, content.present)
    elif content.complete and not (content.trusted and cache.store.seal_holds(content)):
        cache.store.complete(content)
    return Scrubbed(bad, missing)


def refetch(cache: Cache, row: Row) -> bool:
    """Fetch a content's holes; whether it is complete again."""
    entry = cache.catalogue.of_content(row.id)
    who = row.identity
    if entry is not None:
        info = ObjectInfo(entry.key, entry.size, entry.etag, entry.mtime_ns)
    elif who.source == cache.source.url:
        info = ObjectInfo(who.key, who.size, who.etag, 0)
    else:
        return False
    content: ContentFile = cache.store.open(row.id, who)
    done = threading.Event()
    result: list[HardtackError | None] = []

    def finished(error: HardtackError | None) -> None:
        result.append(error)
        done.set()

    cache.downloader.fetch(content, info, finished)
    done.wait()
    cache.store.flush()
    return result[0] is None and cache.store.complete(content).result()


def _named(cache: Cache, patterns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    for row in list(cache.store.index.oldest_first()):
        path = path_of(cache, row.id, row.identity)
        if matches(path, patterns):
            yield path, row


def evict(cache: Cache, patterns: Sequence[str]) -> Evicted:
    """Remove the contents that `patterns` name, but those that must stay."""
    files = freed = kept = 0
    cache.store.flush()
    for _, row in _named(cache, patterns):
        if cache.keeps(row.id):
            kept += 1
        else:
            files, freed = files + 1, freed + cache.store.remove(row)
    return Evicted(files, freed, kept)


def contents(cache: Cache) -> list[Content]:
    """What is in the directory, least recently used first."""
    cache.store.flush()
    return [
        Content(
            path=path,
            key=row.identity.key,
            etag=row.identity.etag,
            size=row.identity.size,
            present=row.present,
            complete=row.present == row.identity.size,
            pinned=cache.pinned(row.id),
            used=row.used,
        )
        for path, row in _named(cache, ())
    ]


class Pace:
    """Told how many bytes were read; waits so that they are at most `rate` a second."""

    def __init__(self, rate: int, stop: threading.Event) -> None:
        self._rate, self._stop = rate, stop
        self._start, self._count = time.monotonic(), 0

    def __call__(self, count: int) -> None:
        self._count += count
        self._stop.wait(max(0.0, self._start + self._count / self._rate - time.monotonic()))
