"""The cache of one source in one directory: what the mount and the commands talk to."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hardtack.cache import exporting, fetching, leftout, survey, verifying
from hardtack.cache.api import Entry, Invalidation, Kind, Options, Presence, Reply, State
from hardtack.cache.background import Background
from hardtack.cache.catalogue import KEEPS, Catalogue
from hardtack.cache.chunkmap import Identity
from hardtack.cache.content import ContentFile
from hardtack.cache.counters import Counters
from hardtack.cache.database import connect, guarded
from hardtack.cache.disk import Disk
from hardtack.cache.downloader import Downloader
from hardtack.cache.keys import content_id
from hardtack.cache.listing import Listing, changed_names
from hardtack.cache.owner import Owner
from hardtack.cache.pieces import Pieces
from hardtack.cache.reachability import Reachability
from hardtack.cache.reads import Read
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
from hardtack.core.errors import CacheError, ConfigError, HardtackError, SourceUnreachable
from hardtack.core.progress import Progress, Quiet
from hardtack.source.api import ObjectInfo, Source

log = logging.getLogger(__name__)

DEAD_ENTRIES_KEPT = 86400.0
"""Seconds for which an entry that left the listing can still be asked for by its id."""


class Cache:
    """The owner of a cache directory. Thread-safe; see `open`."""

    def __init__(
        self, directory: Path, source: Source, options: Options, owner: Owner, disk: Disk
    ) -> None:
        self.directory, self.source, self.options = directory, source, options
        self.counters, self.pieces = Counters(), Pieces()
        self.reachability = Reachability(time.time)
        self._owner = owner
        self._callbacks: list[Callable[[Invalidation], None]] = []
        self._holds: Counter[int] = Counter()
        self._held_contents: Counter[str] = Counter()
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()
        self.catalogue = Catalogue(_catalogue_path(directory, source.url), source.url)
        try:
            self.view = self._first_view()
            self.store = Store(
                directory, source, options, disk, self.counters, self.pieces, self.keeps
            )
        except BaseException:
            self.catalogue.close()
            raise
        self.downloader = Downloader(
            source, self.reachability, self.counters, self.pieces, self.store,
            connections=options.connections, max_request=options.max_request,
        )  # fmt: skip
        self.background = Background(self)

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
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(
                f"the cache directory {directory} can't be created: {error.strerror}.",
                remedy="Choose another --cache directory.",
            ) from error
        owner = Owner(directory, purpose)
        try:
            return cls(directory, source, options, owner, disk or Disk())
        except BaseException as error:
            owner.release()
            if isinstance(error, OSError):
                raise CacheError(
                    f"the cache directory {directory} can't be used: {error.strerror}.",
                    remedy="Check its permissions and its disk.",
                ) from error
            raise

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
        self.background.stop()
        self.downloader.close()
        self.store.close()
        self.catalogue.close()
        self._owner.release()

    # -- listing

    def _first_view(self) -> int | None:
        follow = self.options.follow
        if follow.startswith("release "):
            return self.catalogue.release(follow.removeprefix("release ").strip())
        if follow not in {"latest", "frozen"}:
            raise ConfigError(
                f"follow is {follow!r}.", remedy="Use latest, frozen, or release NAME."
            )
        latest = self.catalogue.latest()
        return latest.number if latest else None

    def has_listing(self) -> bool:
        """Whether a generation (or the followed release) is known."""
        return self.view is not None

    def refresh(self) -> Refresh:
        """List the source once; the view moves unless it follows a release. A frozen one that is
        there stays, and the source isn't asked.

        Raises SourceError, CacheError; nothing changes on failure.
        """
        with self._refreshing:
            if self.options.follow == "frozen" and self.view is not None:
                return Refresh(self.view, 0, 0, (), 0, frozen=True)
            try:
                result = Listing(self.catalogue, self.source).run()
            except SourceUnreachable as error:
                self.reachability.failed(error)
                raise
            self.reachability.succeeded()
            if not self.options.follow.startswith("release "):
                self._move(result.generation)
            return result

    def _move(self, generation: int) -> None:
        before, self.view = self.view, generation
        if before == generation:
            return
        db = self.catalogue.writer()
        try:
            for names in changed_names(db, before or 0, generation):
                for callback in self._callbacks:
                    callback(names)
        finally:
            db.close()
        with self._lock:
            held = list(self._holds)
        self.catalogue.purge(generation, time.time() - DEAD_ENTRIES_KEPT, held)

    def start(self) -> None:
        """Refresh for ever with back-off, scrub and evict, in daemon threads."""
        self.background.start()

    def on_invalidate(self, callback: Callable[[Invalidation], None]) -> None:
        """`callback` is told, in lists of at most 1,000, what a new generation changed."""
        self._callbacks.append(callback)

    # -- tree

    def entry(self, id: int) -> Entry | None:
        """The entry `id`, of any generation that is kept."""
        return self.catalogue.entry(id)

    def lookup(self, parent: int, name: str) -> Entry | None:
        """The entry `name` of a directory in the current view."""
        return None if self.view is None else self.catalogue.lookup(parent, name, self.view)

    def children(self, parent: int, after: int, limit: int) -> list[Entry]:
        """At most `limit` entries of a directory in the current view with id > `after`, by id."""
        if self.view is None:
            return []
        return self.catalogue.children(parent, after, limit, self.view)

    # -- content

    def identity(self, entry: Entry) -> tuple[str, Identity]:
        """The content id and the identity of a file."""
        url = self.source.url
        info = info_of(entry)
        return content_id(url, info), Identity(url, entry.key, entry.etag, entry.size)

    def content(self, entry: Entry) -> ContentFile:
        """The content file of a file, open. Raises FormatError, CacheError."""
        return self.store.open(*self.identity(entry))

    def presence(self, entry: Entry) -> Presence:
        """How much of a file is in the cache."""
        if entry.kind is not Kind.FILE or entry.size == 0:
            return Presence(State.COMPLETE, entry.size, entry.size)
        present = self.store.present_of(self.identity(entry)[0])
        if present >= entry.size:
            return Presence(State.COMPLETE, entry.size, entry.size)
        return Presence(State.PARTIAL if present else State.ABSENT, present, entry.size)

    def trusted_fd(self, entry: Entry) -> int | None:
        """A new read-only descriptor of a complete, verified, untouched content; else None."""
        return self.store.trusted_fd(self.identity(entry)[0])

    def read(self, entry: Entry, offset: int, size: int, reply: Reply) -> None:
        """Answer `reply` once with bytes [offset, offset + size) of a file, or a HardtackError.

        At once in this thread when they are there, else later from a download thread. Short at
        the end of the file, empty past it. Never waits for the network.
        """
        stop = min(offset + size, entry.size)
        if offset >= stop:
            reply(memoryview(b""))
            return
        try:
            content = self.store.to_read(*self.identity(entry))
            chunk_size = content.header.chunk_size
            first, last = offset // chunk_size, (stop - 1) // chunk_size
            if not content.complete:
                self.downloader.note(content, info_of(entry), first, last)
            if first == last and self._from_memory(content, first, offset, stop, reply):
                return
            answer = self._from_disk(content, offset, stop)
        except HardtackError as error:
            reply(error)
            return
        if answer is not None:
            self.counters.add(hits=1, read_bytes=len(answer))
            reply(memoryview(answer))
            return
        self.counters.add(misses=1, read_bytes=stop - offset)
        self._from_source(content, entry, Read(offset, stop, reply))

    def _from_memory(
        self, content: ContentFile, chunk: int, offset: int, stop: int, reply: Reply
    ) -> bool:
        """Answer from a chunk that arrived a moment ago; whether there was one."""
        start, length = chunk * content.header.chunk_size, content.header.length_of(chunk)
        piece = self.pieces.borrow((content.id, chunk), last=stop - offset == length)
        if piece is None:
            return False
        try:
            self.counters.add(hits=1, read_bytes=stop - offset)
            reply(piece.buffer[offset - start : stop - start])
        finally:
            self.pieces.release(piece)
        return True

    def _from_disk(self, content: ContentFile, offset: int, stop: int) -> bytes | None:
        """The bytes when every chunk of them is there and good; else None."""
        size = content.header.chunk_size
        for _ in range(2):
            if not all(map(content.ready, range(offset // size, (stop - 1) // size + 1))):
                return None
            try:
                data = content.read(offset, stop - offset)
            except OSError as error:
                log.warning("%s can't be read: %s", content.path, error.strerror)
                data = b""
            if len(data) == stop - offset:
                return data
            content.distrust()  # truncated under our feet: find what is left of it
        return None

    def _from_source(self, content: ContentFile, entry: Entry, read: Read) -> None:
        size = content.header.chunk_size
        chunks = list(range(read.offset // size, (read.stop - 1) // size + 1))
        missing = [chunk for chunk in chunks if not content.ready(chunk)]
        here = [chunk for chunk in chunks if chunk not in missing]
        here += self.downloader.want(content, info_of(entry), missing, read)
        for chunk in here:
            try:
                data = content.read(chunk * size, content.header.length_of(chunk))
            except OSError as error:
                read.failed(CacheError(f"{content.path} can't be read: {error.strerror}."))
                return
            if len(data) != content.header.length_of(chunk):
                read.failed(CacheError(f"{content.path} was truncated.", remedy="Read it again."))
                return
            read.arrived(chunk * size, memoryview(data))

    def hold(self, id: int) -> None:
        """Count one more open handle of entry `id`: it isn't evicted or forgotten."""
        entry = self.entry(id)
        with self._lock:
            self._holds[id] += 1
            if entry is not None and entry.kind is Kind.FILE:
                self._held_contents[self.identity(entry)[0]] += 1

    def drop(self, id: int) -> None:
        """Count one open handle less."""
        entry = self.entry(id)
        with self._lock:
            _less(self._holds, id)
            if entry is not None and entry.kind is Kind.FILE:
                _less(self._held_contents, self.identity(entry)[0])

    def keeps(self, id: str) -> bool:
        """Whether content `id` must stay: held, being fetched, or part of a release."""
        with self._lock:
            if id in self._held_contents:
                return True
        return self.downloader.busy(id) or self.pinned(id)

    def pinned(self, id: str) -> bool:
        """Whether a release of any source of this directory holds content `id`."""
        if self.catalogue.keeps(id):
            return True
        for path in self.directory.glob("catalogue-*.db"):
            if path != self.catalogue.path and _other_keeps(path, id):
                return True
        return False

    # -- operations

    def prefetch(
        self,
        patterns: Sequence[str],
        *,
        release: str | None = None,
        progress: Progress | None = None,
    ) -> Prefetched:
        """Fetch what `patterns` (globs on paths; none: everything) name of the view or release."""
        selection = self._selection(patterns, release)
        return fetching.prefetch(self, selection, progress or Quiet())

    def export(
        self,
        patterns: Sequence[str],
        to: Path,
        *,
        release: str | None = None,
        progress: Progress | None = None,
    ) -> Prefetched:
        """Prefetch, then plain files below `to`: by reflink, hard link or copy."""
        selection = self._selection(patterns, release)
        done = fetching.prefetch(self, selection, progress or Quiet())
        return exporting.export(self, selection, to, done)

    def _selection(self, patterns: Sequence[str], release: str | None) -> Selection:
        view = self.view if release is None else self.catalogue.release(release)
        if view is None:
            raise CacheError(
                f"nothing is known of {self.source.url} yet.",
                remedy="Connect the box once, so that it can be listed.",
            )
        return Selection(self.catalogue, view, patterns)

    def pin(self, name: str) -> Release:
        """Keep the current view as release `name`. Raises CacheError without a listing."""
        view = self._selection((), None).view
        self.catalogue.pin(name, view)
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
        return verifying.verify(self, repair, progress or Quiet())

    def evict(self, patterns: Sequence[str]) -> Evicted:
        """Remove the contents that `patterns` name (none: all), but what is pinned or open."""
        return verifying.evict(self, patterns)

    def contents(self) -> list[Content]:
        """What is in the directory, least recently used first."""
        return verifying.contents(self)

    def survey(self, patterns: Sequence[str]) -> list[Surveyed]:
        """How each file of the view that `patterns` name stands. Raises CacheError unlisted."""
        return survey.survey(self, self._selection(patterns, None))

    def peek(self, path: str) -> str:
        """The text of a small file of the view that is wholly here. Raises CacheError."""
        return survey.peek(self, path)

    def usage(self) -> Usage:
        """The room that the cache takes and has."""
        free, total = self.store.disk.free(self.directory)
        _, sealed, begun = self.store.index.totals()
        present, limit = self.store.present_bytes, self.options.size_limit
        return Usage(present, limit, free, total, sealed + begun)

    def status(self) -> Status:
        """How the cache is now."""
        view = self.catalogue.generation(self.view) if self.view is not None else None
        present, complete, partial = self.store.index.totals()
        fetching = self.downloader.fetching()
        left = sum(content.header.identity.size - content.present for content in fetching)
        reach, count = self.reachability, self.counters
        return Status(
            source=self.source.url,
            reachable_since=reach.since,
            unreachable_since=reach.unreachable_since,
            last_error=self.background.last_error,
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
                (verifying.path_of(self, c.id, c.header.identity), c.present,
                 c.header.identity.size) for c in fetching
            ),
            eta=self.background.seconds_left(left) if fetching else None,
            evicted_bytes_total=count.evicted_bytes,
            passed_bytes_total=count.passed_bytes,
            refusal=self.store.complaint,
            left_out=leftout.read(self.catalogue),
        )  # fmt: skip


def info_of(entry: Entry) -> ObjectInfo:
    """The object that a file is."""
    return ObjectInfo(entry.key, entry.size, entry.etag, entry.mtime_ns)


def _catalogue_path(directory: Path, url: str) -> Path:
    return directory / f"catalogue-{hashlib.sha256(url.encode()).hexdigest()[:16]}.db"


def _other_keeps(path: Path, id: str) -> bool:
    db = connect(path)
    try:
        with guarded(path):
            return bool(db.execute(KEEPS, {"content": id}).fetchone())
    finally:
        db.close()


K = TypeVar("K")


def _less(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
