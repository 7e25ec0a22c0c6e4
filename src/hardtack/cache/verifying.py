"""Contents compared with their checksums one by one, and fetched anew where they don't agree."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from hardtack.cache.catalogue import Catalogue
from hardtack.cache.counters import Counters
from hardtack.cache.downloader import Downloader
from hardtack.cache.index import Row
from hardtack.cache.keys import info_of
from hardtack.cache.results import Damage, Refresh, Verified
from hardtack.cache.store import Store
from hardtack.core.errors import CacheError, FormatError, HardtackError
from hardtack.core.progress import Progress
from hardtack.source.api import ObjectInfo

log = logging.getLogger(__name__)


class Scrubbed(NamedTuple):
    """What a check of one content found: chunks that are bad now, and how many were before and are
    still missing."""

    bad: list[int]
    missing: int


class Verifier:
    """Verifies the contents of a directory. `refresh` lists the source."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        downloader: Downloader,
        counters: Counters,
        refresh: Callable[[], Refresh],
    ) -> None:
        self._catalogue, self._store, self._downloader = catalogue, store, downloader
        self._counters, self._refresh = counters, refresh

    def verify(self, repair: bool, progress: Progress) -> Verified:
        """Read every chunk that is there; a bad one becomes a hole, and is fetched with `repair`.

        What the source has replaced can't be fetched any more: with `repair` it goes, if nothing
        keeps it. Without, the listing that is here says what was replaced.
        """
        files = total = 0
        outdated = _Outdated(self._catalogue, self._store.source, self._refresh if repair else None)
        bad: list[Damage] = []
        self._store.flush()

        def read(count: int) -> None:
            nonlocal total
            total += count
            progress.advance(path, count)

        for row in list(self._store.index.oldest_first()):
            path = self._catalogue.path_of_content(row.id) or row.identity.key
            progress.task(path, row.present)
            try:
                found = self.scrub(row, read)
            except (FormatError, CacheError):
                bad.append(Damage(path, -1, False))
                continue
            files += 1
            repaired = any(found) and repair and self.refetch(row)
            lost = any(found) and not repaired and outdated(row)
            replaced = lost and repair and self._store.remove(row) is not None
            kept = ", ".join(self._catalogue.kept_by(row.id)) if lost else ""
            bad += [Damage(path, chunk, repaired, 0, replaced, kept) for chunk in found.bad]
            if found.missing:
                bad.append(Damage(path, -1, repaired, found.missing, replaced, kept))
            progress.done(path)
        return Verified(files, total, tuple(bad))

    def scrub(self, row: Row, read: Callable[[int], None]) -> Scrubbed:
        """Check each chunk of a content; a bad one becomes a hole, which its map remembers.

        `read` is told the bytes of each chunk. Raises FormatError, CacheError.
        """
        now = self._store.index.get(row.id)
        if now is None:  # it was evicted since the list was made, hours ago maybe
            return Scrubbed([], 0)
        row, content = now, self._store.open(row.id, row.identity)
        if lost := row.seal is not None and not content.complete:
            content.lose()
        missing, bad = len(content.bad), []
        for chunk in sorted(content.sums):
            if not content.check(chunk) and chunk in content.bad:
                bad.append(chunk)
            read(content.header.length_of(chunk))
        if bad or lost:
            self._counters.add(bad_chunks=len(bad) or 1)
            self._store.index.seal(row.id, None)
            self._store.index.present(row.id, content.present)
        elif content.complete and not (content.trusted and self._store.sealer.holding(content)):
            self._store.sealer.seal(content)
        return Scrubbed(bad, missing)

    def refetch(self, row: Row) -> bool:
        """Fetch a content's holes; whether it is complete again."""
        entry = self._catalogue.of_content(row.id)
        who = row.identity
        if entry is not None:
            info = info_of(entry)
        elif who.source == self._store.source:
            info = ObjectInfo(who.key, who.size, who.etag, 0)
        else:
            return False
        content = self._store.open(row.id, who)
        done = threading.Event()
        result: list[HardtackError | None] = []

        def finished(error: HardtackError | None) -> None:
            result.append(error)
            done.set()

        self._downloader.fetch(content, info, finished)
        done.wait()
        self._store.flush()
        return result[0] is None and self._store.sealer.seal(content).result()


class _Outdated:
    """Says of a content whether the source lists it no more.

    With `refresh` the source is asked for its listing once, when the first question comes.
    """

    def __init__(
        self, catalogue: Catalogue, source: str, refresh: Callable[[], Refresh] | None
    ) -> None:
        self._catalogue, self._source, self._refresh = catalogue, source, refresh

    @cached_property
    def _latest(self) -> int | None:
        if self._refresh is None:
            known = self._catalogue.latest()
            return known.number if known else None
        try:
            return self._refresh().generation
        except HardtackError as error:
            log.warning("what can't be repaired stays, as the source can't be listed: %s", error)
            return None

    def __call__(self, row: Row) -> bool:
        if row.identity.source != self._source or self._latest is None:
            return False
        return not self._catalogue.lists(row.id, self._latest)
