"""The cache of one source in one directory: what the mount and the commands talk to."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hardtack.cache import exporting, fetching, leftout, stock
from hardtack.cache.answering import Answering
from hardtack.cache.api import Entry, Invalidation, Options, Presence, Reply
from hardtack.cache.background import Background
from hardtack.cache.catalogue import Catalogue, unknown_release
from hardtack.cache.content import ContentFile
from hardtack.cache.counters import Counters
from hardtack.cache.disk import Disk
from hardtack.cache.downloader import Downloader
from hardtack.cache.holds import Holds
from hardtack.cache.keys import identity_of
from hardtack.cache.owner import Owner, unusable
from hardtack.cache.pieces import Pieces
from hardtack.cache.reachability import Reachability
from hardtack.cache.results import (
    Content,
    Evicted,
    Prefetched,
    Refresh,
    Release,
    Status,
    Surveyed,
    Usage,
    Verified,
)
from hardtack.cache.selection import Selection
from hardtack.cache.store import Store
from hardtack.cache.survey import Surveyor
from hardtack.cache.verifying import Verifier
from hardtack.cache.view import View, followed_release
from hardtack.core.errors import CacheError
from hardtack.core.progress import Progress, Quiet
from hardtack.source.api import Source


class Cache:
    """The owner of a cache directory: its parts, and what is asked of them. Thread-safe; see
    `open`."""

    def __init__(
        self, directory: Path, source: Source, options: Options, owner: Owner, disk: Disk
    ) -> None:
        self.directory, self.source, self.options = directory, source, options
        self._owner = owner
        self.counters, pieces = Counters(), Pieces()
        self.reachability = Reachability(time.time)
        self.catalogue = Catalogue(_catalogue_path(directory, source.url), source.url)
        self._holds = Holds(directory, self.catalogue, source.url)
        try:
            self._view = View(
                self.catalogue, source, options.follow, self.reachability, self._holds.entries
            )
            self.store = Store(directory, source, options, disk, self.counters, pieces, self.keeps)
        except BaseException:
            self.catalogue.close()
            raise
        self.downloader = Downloader(
            source, self.reachability, self.counters, pieces, self.store,
            connections=options.connections, max_request=options.max_request,
        )  # fmt: skip
        self.store.on_remove = self.downloader.forget
        self._answering = Answering(source.url, self.store, self.downloader, pieces, self.counters)
        self._surveyor = Surveyor(self.catalogue, self.store, self._holds.pinned)
        self._verifier = Verifier(
            self.catalogue, self.store, self.downloader, self.counters, self.refresh
        )
        self._background = Background(
            options, self.catalogue, self._view, self.store, self._verifier, self.reachability,
            self.counters,
        )  # fmt: skip

    @classmethod
    def open(
        cls,
        directory: Path,
        source: Source,
        options: Options,
        *,
        purpose: str = "",
        disk: Disk | None = None,
    ) -> Cache:
        """Own `directory`, created with mode 0700 when it isn't there. No network.

        Raises CacheBusy naming the process that has it, FormatError, DiskFull, CacheError, and
        ConfigError when `options.follow` names a release that isn't there.
        """
        if (release := followed_release(options.follow)) and not cls.exists(directory, source.url):
            raise unknown_release(release)  # before anything is made
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(
                f"the cache directory {directory} can't be created: {error.strerror}.",
                remedy="Choose another --cache directory.",
            ) from error
        owner = Owner(directory, purpose)
        try:
            cache = cls(directory, source, options, owner, disk or Disk())
        except BaseException as error:
            owner.release()
            if isinstance(error, OSError):
                raise unusable(directory, error) from error
            raise
        owner.keep_room()
        return cache

    @staticmethod
    def exists(directory: Path, url: str) -> bool:
        """Whether `directory` has been opened for the source `url` before, or can't be looked at
        (`open` says why)."""
        try:
            _catalogue_path(directory, url).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Finish what has landed, stop all threads, let another process own the directory."""
        self._background.stop()
        self.downloader.close()
        self.store.close()
        self.catalogue.close()
        self._owner.release()

    # -- listing

    def has_listing(self) -> bool:
        """Whether a generation (or the followed release) is known."""
        return self._view.known

    def refresh(self) -> Refresh:
        """List the source once; see `View.refresh`. Raises SourceError, CacheError."""
        return self._view.refresh()

    def start(self) -> None:
        """Refresh for ever with back-off, scrub and evict, in daemon threads."""
        self._background.start()

    def on_invalidate(self, callback: Callable[[Invalidation], None]) -> None:
        """`callback` is told, in lists of at most 1,000, what a new generation changed."""
        self._view.on_move(callback)

    # -- tree

    def entry(self, id: int) -> Entry | None:
        """The entry `id`, of any generation that is kept."""
        return self.catalogue.entry(id)

    def lookup(self, parent: int, name: str) -> Entry | None:
        """The entry `name` of a directory in the current view."""
        return self._view.lookup(parent, name)

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        """At most `limit` entries of a directory in the current view with id > `after`, by id."""
        return self._view.children(parent, after, limit)

    # -- content

    def content(self, entry: Entry) -> ContentFile:
        """The content file of a file, open. Raises FormatError, CacheError."""
        return self.store.content(entry)

    def presence(self, entry: Entry) -> Presence:
        """How much of a file is in the cache."""
        return self.store.presence(entry)

    def trusted_fd(self, entry: Entry) -> int | None:
        """A new read-only descriptor of a complete, verified, untouched content; else None."""
        return self.store.trusted_fd(identity_of(self.source.url, entry)[0])

    def read(self, entry: Entry, offset: int, size: int, reply: Reply) -> None:
        """Answer `reply` once with bytes [offset, offset + size) of a file; see `Answering`."""
        self._answering.read(entry, offset, size, reply)

    def hold(self, id: int) -> None:
        """Count one more open handle of entry `id`: it isn't evicted or forgotten."""
        self._holds.hold(id)

    def drop(self, id: int) -> None:
        """Count one open handle less."""
        self._holds.drop(id)

    def keeps(self, id: str) -> bool:
        """Whether content `id` must stay: open, being fetched, or part of a release."""
        return self._holds.open(id) or self.downloader.busy(id) or self._holds.pinned(id)

    # -- operations

    def prefetch(
        self,
        patterns: Sequence[str],
        *,
        release: str | None = None,
        progress: Progress | None = None,
    ) -> Prefetched:
        """Fetch what `patterns` (globs on paths; none: everything) name of the view or release."""
        selection = self._view.select(patterns, release)
        return self._prefetch(selection, progress)

    def export(
        self,
        patterns: Sequence[str],
        to: Path,
        *,
        release: str | None = None,
        progress: Progress | None = None,
    ) -> Prefetched:
        """Prefetch, then plain files below `to`: by reflink, hard link or copy."""
        selection = self._view.select(patterns, release)
        done = self._prefetch(selection, progress)
        return exporting.export(self.store, selection, to, done)

    def _prefetch(self, selection: Selection, progress: Progress | None) -> Prefetched:
        return fetching.prefetch(
            self.store, self.downloader, self.counters, selection, progress or Quiet()
        )

    def pin(self, name: str) -> Release:
        """Keep the current view as release `name`. Raises CacheError without a listing."""
        self.catalogue.pin(name, self._view.select(()).view)
        return next(release for release in self.releases() if release.name == name)

    def unpin(self, name: str) -> None:
        """Keep release `name` no longer. Raises ConfigError when there is none."""
        self.catalogue.unpin(name)

    def releases(self) -> list[Release]:
        """All releases, by name."""
        found = []
        for name, number, created in self.catalogue.releases():
            files, total = self.catalogue.totals(number)
            present = sum(map(self.store.present_of, self.catalogue.contents(number)))
            found.append(Release(name, number, created, files, total, present))
        return found

    def verify(self, *, repair: bool, progress: Progress | None = None) -> Verified:
        """Read every chunk of the directory's contents; bad ones become holes, and are fetched
        anew with `repair`."""
        return self._verifier.verify(repair, progress or Quiet())

    def evict(self, patterns: Sequence[str]) -> Evicted:
        """Remove the contents that `patterns` name (none: all), but what is pinned or open."""
        return stock.evict(self.catalogue, self.store, patterns)

    def contents(self) -> list[Content]:
        """What is in the directory, least recently used first."""
        return stock.contents(self.catalogue, self.store, self._holds.pinned)

    def survey(self, patterns: Sequence[str]) -> list[Surveyed]:
        """How each file of the view that `patterns` name stands. Raises CacheError unlisted."""
        return self._surveyor.survey(self._view.select(patterns))

    def peek(self, path: str) -> str:
        """The text of a small file of the view that is wholly here. Raises CacheError."""
        return self._surveyor.peek(path, self._view.number)

    def usage(self) -> Usage:
        """The room that the cache takes and has."""
        free, total = self.store.disk.free(self.directory)
        _, sealed, begun = self.store.index.totals()
        present, limit = self.store.present_bytes, self.options.size_limit
        return Usage(present, limit, free, total, sealed + begun)

    def status(self) -> Status:
        """How the cache is now."""
        view = (
            self.catalogue.generation(self._view.number) if self._view.number is not None else None
        )
        present, complete, partial = self.store.index.totals()
        fetching = self.downloader.fetching()
        left = sum(content.header.identity.size - content.present for content in fetching)
        reach, count = self.reachability, self.counters
        return Status(
            source=self.source.url,
            reachable_since=reach.since,
            unreachable_since=reach.unreachable_since,
            last_error=self._background.last_error,
            generation=view.number if view else None,
            generation_time=view.at if view else None,
            objects=view.objects if view else 0,
            bytes=view.bytes if view else 0,
            complete=complete,
            partial=partial,
            present_bytes=present,
            fetched_bytes_total=count.fetched_bytes,
            bytes_read_total=count.read_bytes,
            hits=count.hits,
            misses=count.misses,
            fetching=tuple(
                (self.catalogue.path_of_content(c.id) or c.header.identity.key, c.present,
                 c.header.identity.size) for c in fetching
            ),
            eta=self._background.seconds_left(left) if fetching else None,
            evicted_bytes_total=count.evicted_bytes,
            passed_bytes_total=count.passed_bytes,
            refusal=self.store.complaint,
            left_out=leftout.read(self.catalogue),
        )  # fmt: skip


def _catalogue_path(directory: Path, url: str) -> Path:
    return directory / f"catalogue-{hashlib.sha256(url.encode()).hexdigest()[:16]}.db"
