"""The generation of a source that is shown, and how the next one takes its place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from hardtack.cache.api import Entry, Invalidation
from hardtack.cache.catalogue import Catalogue
from hardtack.cache.listing import Listing, changed_names
from hardtack.cache.reachability import Reachability
from hardtack.cache.results import Refresh
from hardtack.cache.selection import Selection
from hardtack.core.errors import CacheError, ConfigError, SourceUnreachable
from hardtack.source.api import Source

DEAD_ENTRIES_KEPT = 86400.0
"""Seconds for which an entry that left the listing can still be asked for by its id."""


def followed_release(follow: str) -> str:
    """The release that `follow` names; empty where it names none."""
    _, found, name = follow.partition("release ")
    return name.strip() if found else ""


class View:
    """What is shown of `source`: generation `number`, None before the first listing.

    `follow`: latest, frozen, or release NAME; `held`: the entries that are open. Raises ConfigError
    when `follow` is none of these, or names a release that isn't there.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        source: Source,
        follow: str,
        reachability: Reachability,
        held: Callable[[], Sequence[int]],
    ) -> None:
        self._catalogue, self._source, self._follow = catalogue, source, follow
        self._reachability, self._held = reachability, held
        self._release = followed_release(follow)
        self._callbacks: list[Callable[[Invalidation], None]] = []
        self._refreshing = threading.Lock()
        self.number = self._first()

    def _first(self) -> int | None:
        if self._release:
            return self._catalogue.release(self._release)
        if self._follow not in {"latest", "frozen"}:
            raise ConfigError(
                f"follow is {self._follow!r}.", remedy="Use latest, frozen, or release NAME."
            )
        latest = self._catalogue.latest()
        return latest.number if latest else None

    @property
    def known(self) -> bool:
        """Whether a generation (or the followed release) is known."""
        return self.number is not None

    def refresh(self) -> Refresh:
        """List the source once; the view moves unless it follows a release. A frozen one that is
        there stays, and the source isn't asked.

        Raises SourceError, CacheError; nothing changes on failure.
        """
        with self._refreshing:
            if self._follow == "frozen" and self.number is not None:
                return Refresh(self.number, 0, 0, (), 0, frozen=True)
            try:
                result = Listing(self._catalogue, self._source).run()
            except SourceUnreachable as error:
                self._reachability.failed(error)
                raise
            self._reachability.succeeded()
            if not self._release:
                self._move(result.generation)
            return result

    def _move(self, generation: int) -> None:
        before, self.number = self.number, generation
        if before == generation:
            return
        db = self._catalogue.writer()
        try:
            for names in changed_names(db, before or 0, generation):
                for callback in self._callbacks:
                    callback(names)
        finally:
            db.close()
        self._catalogue.purge(generation, time.time() - DEAD_ENTRIES_KEPT, self._held())

    def on_move(self, callback: Callable[[Invalidation], None]) -> None:
        """`callback` is told, in lists of at most 1,000, what a new generation changed."""
        self._callbacks.append(callback)

    def lookup(self, parent: int, name: str) -> Entry | None:
        """The entry `name` of a directory."""
        return None if self.number is None else self._catalogue.lookup(parent, name, self.number)

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        """At most `limit` entries of a directory with id > `after`, by id."""
        if self.number is None:
            return []
        return self._catalogue.children(parent, after, limit, self.number)

    def select(self, patterns: Sequence[str], release: str | None = None) -> Selection:
        """What `patterns` (globs on paths; none: everything) name here, or in `release`.

        Raises CacheError before the first listing, ConfigError for an unknown release.
        """
        number = self.number if release is None else self._catalogue.release(release)
        if number is None:
            raise CacheError(
                f"nothing is known of {self._source.url} yet.",
                remedy="Connect the box once, so that it can be listed.",
            )
        return Selection(self._catalogue, number, patterns)
