"""Answering a read: from memory, from disk, or from the source as it comes."""

from __future__ import annotations

import logging

from hardtack.cache.api import Entry, Reply
from hardtack.cache.content import ContentFile
from hardtack.cache.counters import Counters
from hardtack.cache.downloader import Downloader
from hardtack.cache.keys import identity_of, info_of
from hardtack.cache.pieces import Pieces
from hardtack.cache.reads import Read
from hardtack.cache.store import Store
from hardtack.core.errors import CacheError, HardtackError

log = logging.getLogger(__name__)


class Answering:
    """Who answers the reads of one source's files. Thread-safe."""

    def __init__(
        self, source: str, store: Store, downloader: Downloader, pieces: Pieces, counters: Counters
    ) -> None:
        self._source, self._store, self._downloader = source, store, downloader
        self._pieces, self._counters = pieces, counters

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
            content = self._store.to_read(*identity_of(self._source, entry))
            chunk_size = content.header.chunk_size
            first, last = offset // chunk_size, (stop - 1) // chunk_size
            if not content.complete:
                self._downloader.note(content, info_of(entry), first, last)
            if first == last and self._from_memory(content, first, offset, stop, reply):
                return
            answer = self._from_disk(content, offset, stop)
        except HardtackError as error:
            reply(error)
            return
        if answer is not None:
            self._counters.add(hits=1, read_bytes=len(answer))
            reply(memoryview(answer))
            return
        self._counters.add(misses=1, read_bytes=stop - offset)
        self._from_source(content, entry, Read(offset, stop, reply))

    def _from_memory(
        self, content: ContentFile, chunk: int, offset: int, stop: int, reply: Reply
    ) -> bool:
        """Answer from a chunk that arrived a moment ago; whether there was one."""
        start, length = chunk * content.header.chunk_size, content.header.length_of(chunk)
        piece = self._pieces.borrow((content.id, chunk), last=stop - offset == length)
        if piece is None:
            return False
        try:
            self._counters.add(hits=1, read_bytes=stop - offset)
            reply(piece.buffer[offset - start : stop - start])
        finally:
            self._pieces.release(piece)
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
        here += self._downloader.want(content, info_of(entry), missing, read)
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
