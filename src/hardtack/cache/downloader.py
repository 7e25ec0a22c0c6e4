"""Fetching: one download per object, shared by all who read it, filling holes only.

A small pool of threads serves all downloads in turn. A chunk that a reader waits for goes first;
then what is fetched ahead of sequential readers; then whole objects. Each thread fills one buffer
at a time: the chunk is handed to its readers from there, then written. A chunk that takes long is
written as it comes, so that what breaks off goes on where it broke.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from hardtack.cache.content import ContentFile
from hardtack.cache.counters import Counters
from hardtack.cache.download import RANKS, Download, Finished, fail, told
from hardtack.cache.pace import Pace
from hardtack.cache.pieces import Piece, Pieces
from hardtack.cache.reachability import Reachability
from hardtack.cache.readahead import grow
from hardtack.cache.reads import Read
from hardtack.core.errors import (
    CorruptReply,
    HardtackError,
    SourceError,
    SourceUnreachable,
    in_words,
)
from hardtack.source.api import ByteStream, ObjectInfo, Source

log = logging.getLogger(__name__)

PART = 1.0
"""Seconds for which the bytes of a chunk come before they are made to last."""


class Keeping(Protocol):
    """Where chunks go: the part of a store that fetching asks."""

    def reserve(self, content: ContentFile, start: int, stop: int) -> bool: ...

    def land(self, content: ContentFile, chunk: int, data: memoryview, *, direct: bool) -> bool: ...

    def keep_part(self, content: ContentFile, chunk: int, data: memoryview, kept: int) -> bool: ...

    def refusal(self, content: ContentFile) -> HardtackError: ...


class Downloader:
    """The one who fetches, for all objects of a cache."""

    def __init__(
        self,
        source: Source,
        reachability: Reachability,
        counters: Counters,
        pieces: Pieces,
        store: Keeping,
        *,
        connections: int,
        max_request: int,
    ) -> None:
        self._source, self._reachability, self._counters = source, reachability, counters
        self._pieces, self._store, self._pace = pieces, store, Pace()
        self._connections, self._max_request = connections, max_request
        self._wake = threading.Condition()
        self._downloads: OrderedDict[str, Download] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self._idle = 0  # threads that wait for something to fetch
        self._closed = False

    # -- asked by readers

    def want(
        self, content: ContentFile, info: ObjectInfo, chunks: Iterable[int], read: Read
    ) -> list[int]:
        """`read` waits for `chunks`; those that landed meanwhile are returned, to be read."""
        passed: list[tuple[int, Piece]] = []
        landed: list[int] = []
        refusal: HardtackError | None = None
        with self._wake:
            download = self._download(content, info)
            for chunk in chunks:
                if chunk in content.sums:
                    landed.append(chunk)
                elif piece := self._pieces.borrow((content.id, chunk)):
                    passed.append((chunk, piece))
                elif chunk in download.waiting or chunk in download.flying:
                    download.waiting.setdefault(chunk, []).append(read)
                elif refusal := self._refusal(content, chunk):
                    break
                else:
                    download.waiting[chunk] = [read]
                    self._call_threads()
        for chunk, piece in passed:
            data = piece.buffer[: content.header.length_of(chunk)]
            read.arrived(chunk * content.header.chunk_size, data)
            self._pieces.release(piece)
        if refusal is not None:
            read.failed(refusal)
        return landed

    def note(self, content: ContentFile, info: ObjectInfo, first: int, last: int) -> None:
        """Chunks [first, last] are being read: fetch ahead of sequential readers."""
        with self._wake:
            download = self._download(content, info)
            span = download.reading.touch(first, last)
            if span is None or self._reachability.error is not None:
                return
            start, stop = span[0], min(span[1], content.header.chunks)
            if start < stop:
                download.look_ahead(start, stop)
                self._call_threads()

    def fetch(self, content: ContentFile, info: ObjectInfo, finished: Finished) -> None:
        """Fetch every hole, then call `finished` (from a download thread, or at once)."""
        with self._wake:
            refused = SourceUnreachable("the cache is being closed.") if self._closed else None
            if not content.complete and not refused:
                download = self._download(content, info)
                download.bulk, download.error = [[0, content.header.chunks]], None
                download.finished.append(finished)
                self._call_threads()
                return
        finished(None if content.complete else refused)

    def fetching(self) -> list[ContentFile]:
        """The objects that are being fetched now."""
        with self._wake:
            return [d.content for d in self._downloads.values() if not d.idle]

    def busy(self, id: str) -> bool:
        """Whether `id` is being fetched."""
        with self._wake:
            download = self._downloads.get(id)
            return download is not None and not download.idle

    def forget(self, id: str) -> None:
        """`id` was evicted: nothing here may keep its file open, and its room taken."""
        with self._wake:
            download = self._downloads.get(id)
            if download is not None and download.idle:
                del self._downloads[id]

    def close(self) -> None:
        """Stop the threads; who still waits gets SourceUnreachable."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            downloads, self._downloads = list(self._downloads.values()), OrderedDict()
            threads, self._threads = self._threads, []
            left = [(d.take(list(d.waiting)), d.finished) for d in downloads]
        error = SourceUnreachable("the cache is being closed.")
        for reads, finished in left:
            fail(reads, error)
            for call in finished:
                call(error)
        for thread in threads:
            thread.join(timeout=10)

    # -- the threads

    def _download(self, content: ContentFile, info: ObjectInfo) -> Download:
        download = self._downloads.get(content.id)
        if download is None or download.content is not content:
            old, download = download, Download(content, info)
            self._downloads[content.id] = download
            if old is not None:  # evicted meanwhile: who waited for it waits for the new one
                download.finished, old.finished = old.finished, []
                download.bulk = [[0, content.header.chunks]] if download.finished else []
                for chunk in [c for c in old.waiting if c not in old.flying]:
                    download.waiting[chunk] = old.waiting.pop(chunk)
                self._call_threads()
            for id, other in list(self._downloads.items())[:-256]:
                if other.idle:
                    del self._downloads[id]
        download.info = info
        return download

    def _refusal(self, content: ContentFile, chunk: int) -> HardtackError | None:
        if self._closed:
            return SourceUnreachable("the cache is being closed.")
        error = self._reachability.refusal()
        return told(error, content, chunk) if error else None

    def _call_threads(self) -> None:
        while len(self._threads) < self._connections and not self._closed:
            name = f"fetch-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._wake.notify()

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Of a job that is done nothing stays, while the next one is waited for: an evicted file
        keeps its room until nobody has it open."""
        job = self._next_job()
        if job is not None:
            self._run(*job)
        return job is not None

    def _next_job(self) -> tuple[Download, int, int] | None:
        """Wait for a range to fetch; None when there will be none any more.

        Who is woken in vain takes the interpreter from those who have work: so one is woken for
        what is wanted, and one wakes the next only where more is left.
        """
        with self._wake:
            while (job := self._pick()) is None and not self._closed:
                self._idle += 1
                self._wake.wait()
                self._idle -= 1
            if self._idle and any(self._first(rank) for rank in RANKS):
                self._wake.notify()
            return job

    def _pick(self) -> tuple[Download, int, int] | None:
        """The next range to fetch: what is waited for first, objects in turn."""
        if self._closed:
            return None
        for rank in RANKS:
            if first := self._first(rank):
                download, chunk = first
                self._downloads.move_to_end(download.content.id)
                header = download.content.header
                limit = max(1, self._max_request // header.chunk_size)
                stop = grow(chunk, header.chunks, limit, download.wanted)
                download.flying.update(range(chunk, stop))
                return download, chunk, stop
        return None

    def _first(self, rank: int) -> tuple[Download, int] | None:
        """The first object of which chunks of this rank are to be fetched, and the first chunk."""
        for download in self._downloads.values():
            if (chunk := download.next(rank)) is not None:
                return download, chunk
        return None

    def _run(self, download: Download, start: int, stop: int) -> None:
        content, info = download.content, download.info
        size, chunk = content.header.chunk_size, start
        error: HardtackError | None = None
        reserved = False
        try:
            end = min(stop * size, info.size)
            there = content.part_of(start)
            with self._source.stream(info, start * size + len(there), end) as stream:
                reserved = self._pace.direct and self._store.reserve(content, start, stop)
                while chunk < stop:
                    piece = self._pieces.take(size)
                    try:
                        data = piece.buffer[: content.header.length_of(chunk)]
                        data[: len(there)] = there
                        began = time.monotonic()
                        self._fill(stream, download, chunk, data, len(there))
                        self._pace.received(len(data) - len(there), time.monotonic() - began)
                        stop = self._deliver(download, chunk, stop, piece, data)
                    finally:
                        self._pieces.release(piece)
                    chunk, there = chunk + 1, b""
        except SourceUnreachable as failure:
            error = failure.with_traceback(None)  # it is kept, and would keep all that is here
            self._reachability.failed(failure)
        except HardtackError as failure:
            error = failure.with_traceback(None)
        except Exception as failure:
            log.exception("fetching %s failed", info.key)
            error = SourceError(f"fetching {info.key} failed: {in_words(failure)}.")
        if error is not None and reserved:
            content.give_back(chunk + (chunk in content.parts), stop)  # nobody else writes there
        self._end(download, chunk, stop, error)

    def _fill(
        self, stream: ByteStream, download: Download, chunk: int, data: memoryview, filled: int
    ) -> None:
        """Fill `data`, all of `chunk`, from its byte `filled` on."""
        kept = counted = filled
        kept_at = time.monotonic()
        try:
            while filled < len(data):
                count = stream.readinto(data[filled:])
                if not count:
                    start = chunk * download.content.header.chunk_size
                    raise CorruptReply(
                        f"the reply for {download.info.key} ended at byte {start + filled},"
                        f" expected {start + len(data)} at least.",
                        remedy="Read it again; if it persists look at the source.",
                    )
                filled += count
                if time.monotonic() - kept_at >= PART and filled < len(data):
                    self._counters.add(fetched_bytes=filled - counted)
                    counted = filled
                    if self._store.keep_part(download.content, chunk, data[:filled], kept):
                        kept = filled
                    kept_at = time.monotonic()
        except SourceUnreachable:
            if filled > kept:
                self._store.keep_part(download.content, chunk, data[:filled], kept)
            raise
        finally:
            self._counters.add(fetched_bytes=filled - counted)
        self._reachability.succeeded()

    def _deliver(
        self, download: Download, chunk: int, stop: int, piece: Piece, data: memoryview
    ) -> int:
        """Hand `chunk` out and store it; where the range that ends at `stop` is to end now."""
        content = download.content
        start = chunk * content.header.chunk_size
        with self._wake:
            readers = download.waiting.pop(chunk, [])
        whole = False
        for read in readers:  # before the disk: they wait
            whole = read.arrived(start, data) or whole
        if not whole:  # who read all of it doesn't ask again
            self._pieces.keep((content.id, chunk), piece)
        began = time.monotonic()
        stored = not content.gone and self._store.land(
            content, chunk, data, direct=self._pace.direct
        )
        self._pace.written(len(data), time.monotonic() - began)
        with self._wake:
            if not stored:  # they read it piece by piece, it may be kept only here
                self._pieces.keep((content.id, chunk), piece)
                self._counters.add(passed_bytes=len(data))
                download.ahead.clear()
                download.bulk.clear()
            download.flying.discard(chunk)
            readers = download.waiting.pop(chunk, [])
            if self._gives_way(download, chunk + 1, stop):
                stop = chunk + 1
        for read in readers:  # who came while it was written
            read.arrived(start, data)
        return stop

    def _gives_way(self, download: Download, chunk: int, stop: int) -> bool:
        """End a range early when others wait and nobody waits for the rest of it, from `chunk`."""
        if chunk >= stop or any(c in download.waiting for c in range(chunk, stop)):
            return False
        if self._first(0) is None:
            return False
        download.flying.difference_update(range(chunk, stop))
        if download.finished:
            download.bulk.insert(0, [chunk, stop])
        else:
            download.ahead.append([chunk, stop])
        return True

    def _end(self, download: Download, chunk: int, stop: int, error: HardtackError | None) -> None:
        content = download.content
        with self._wake:
            download.flying.difference_update(range(chunk, stop))
            refused: list[tuple[ContentFile, int, Read]] = []
            if error is not None:
                self._counters.add(fetch_errors=1)
                download.error = error
                download.ahead.clear()
                download.bulk.clear()
                refused = download.take(range(chunk, stop))
            if isinstance(error, SourceUnreachable):  # nobody else needs to wait for the same
                for other in self._downloads.values():
                    idle = [c for c in other.waiting if c not in other.flying]
                    refused += other.take(idle)
            finished: list[Finished] = []
            if content.complete or not (download.bulk or download.flying):
                finished, download.finished = download.finished, []
            result = None if content.complete else download.error or self._store.refusal(content)
            if content.complete and download.idle and self._downloads.get(content.id) is download:
                del self._downloads[content.id]  # nothing is left to do: its file may be closed
        if error is not None:
            fail(refused, error)
        for call in finished:
            call(result)
