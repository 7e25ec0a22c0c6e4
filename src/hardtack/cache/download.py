"""What is wanted of one object that is being fetched: by whom, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hardtack.cache.content import ContentFile
from hardtack.cache.readahead import MAX_CURSORS, ReadAhead, first_hole
from hardtack.cache.reads import Read
from hardtack.core.errors import CorruptContent, HardtackError, SourceUnreachable
from hardtack.source.api import ObjectInfo

AHEAD = 32 << 20
"""Bytes that are fetched ahead of a sequential reader, at most."""

RANKS = range(3)
"""In which order chunks are fetched: those waited for, those ahead of a reader, whole objects."""

Finished = Callable[[HardtackError | None], None]


class Download:
    """What is wanted of one object. Guarded by the downloader's lock."""

    def __init__(self, content: ContentFile, info: ObjectInfo) -> None:
        self.content, self.info = content, info
        self.waiting: dict[int, list[Read]] = {}
        self.flying: set[int] = set()
        self.ahead: list[list[int]] = []
        self.bulk: list[list[int]] = []
        self.finished: list[Finished] = []
        self.error: HardtackError | None = None
        self.reading = ReadAhead(max(1, AHEAD // content.header.chunk_size))

    def busy(self, chunk: int) -> bool:
        return chunk in self.flying or chunk in self.content.sums

    def wanted(self, chunk: int) -> bool:
        """Whether a range may grow over `chunk`; one that broke off begins a range."""
        if self.busy(chunk) or chunk in self.content.parts:
            return False
        return chunk in self.waiting or any(
            a <= chunk < b for spans in (self.ahead, self.bulk) for a, b in spans
        )

    def look_ahead(self, start: int, stop: int) -> None:
        """Fetch chunks [start, stop) ahead; a reader that goes on makes its last range longer."""
        for span in self.ahead:
            if span[0] <= start <= span[1]:
                span[1] = max(span[1], stop)
                return
        self.ahead.append([start, stop])
        del self.ahead[:-MAX_CURSORS]

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.flying or self.ahead or self.bulk)

    def next(self, rank: int) -> int | None:
        """The next chunk to fetch: waited for (rank 0), ahead of a reader (1), or just wanted."""
        if rank == 0:
            return next((c for c in self.waiting if not self.busy(c)), None)
        spans = self.ahead if rank == 1 else self.bulk
        chunk = first_hole(spans, self.busy)
        if chunk is None:
            spans.clear()
        return chunk

    def take(self, chunks: Iterable[int]) -> list[tuple[ContentFile, int, Read]]:
        """The reads that wait for `chunks`, which are no longer waited for."""
        return [
            (self.content, chunk, read) for chunk in chunks for read in self.waiting.pop(chunk, ())
        ]


def fail(reads: Iterable[tuple[ContentFile, int, Read]], error: HardtackError) -> None:
    """Each of `reads` ends with `error`."""
    for content, chunk, read in reads:
        read.failed(told(error, content, chunk))


def told(error: HardtackError, content: ContentFile, chunk: int) -> HardtackError:
    """A damaged chunk that can't be fetched anew is an error of its own."""
    if chunk in content.bad and isinstance(error, SourceUnreachable):
        return CorruptContent(
            f"chunk {chunk} of {content.header.identity.key} is damaged in the cache and can't be"
            f" fetched anew: {error.message}",
            remedy="Connect the box and run `hardtack verify --repair`.",
        )
    return error
