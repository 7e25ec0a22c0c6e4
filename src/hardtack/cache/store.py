"""The cache's bytes: contents that are open, what lands in them, the room they take."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hardtack.cache import refusal
from hardtack.cache.api import Entry, Kind, Options, Presence, State
from hardtack.cache.chunkmap import Identity
from hardtack.cache.content import (
    ContentFile,
    PassingContent,
    checksum,
    data_path,
    fingerprint_of,
)
from hardtack.cache.counters import Counters
from hardtack.cache.disk import Disk
from hardtack.cache.eviction import shortage, victims
from hardtack.cache.flushing import Flusher
from hardtack.cache.index import Index, Row
from hardtack.cache.keys import identity_of
from hardtack.cache.pieces import Pieces
from hardtack.cache.sealing import Sealer
from hardtack.core.errors import CacheError, FormatError, HardtackError
from hardtack.core.units import format_size
from hardtack.source.api import Source

log = logging.getLogger(__name__)

OPEN_CONTENTS = 128
SPACE_STEP = 16 << 20  # bytes written between two looks at the disk's free space
AGAIN = 3600.0
"""Seconds until it is said once more that files go to make room."""


class Store:
    """All contents of a cache directory. Thread-safe. `source` is the URL of the source whose
    entries it is asked for; contents of others may be there too."""

    def __init__(
        self,
        directory: Path,
        source: Source,
        options: Options,
        disk: Disk,
        counters: Counters,
        pieces: Pieces,
        keeps: Callable[[str], bool],
    ) -> None:
        self.directory, self.source, self._options = directory, source.url, options
        self.disk, self._counters, self._keeps = disk, counters, keeps
        (directory / "content").mkdir(mode=0o700, exist_ok=True)
        self.index = Index(directory)
        self._lock = threading.RLock()
        self._open: weakref.WeakValueDictionary[str, ContentFile] = weakref.WeakValueDictionary()
        self._passing: weakref.WeakValueDictionary[str, ContentFile] = weakref.WeakValueDictionary()
        self._recent: OrderedDict[str, ContentFile] = OrderedDict()
        self._present = self.index.totals()[0]
        self._unlooked = SPACE_STEP
        self.complaint = ""
        self._told_of_room = -AGAIN
        self.on_remove: Callable[[str], None] = lambda _id: None
        self._refusal = refusal.Refusal("it was evicted meanwhile", "Run it again.", False)
        self._flusher = Flusher(self._record, pieces.trim)
        self.sealer = Sealer(
            self.index, source, disk, counters, pieces, verify_always=options.verify_always
        )

    # -- contents

    def open(self, id: str, identity: Identity) -> ContentFile:
        """The content `id`, created when it isn't there. Raises FormatError, CacheError."""
        with self._lock:
            content = self._open.get(id)
            if content is None:
                content = self._open[id] = self._opened(id, identity)
            content.notice()
            self._recent[id] = content
            self._recent.move_to_end(id)
            while len(self._recent) > OPEN_CONTENTS:
                self._recent.popitem(last=False)
        self.index.use(id)
        return content

    def _opened(self, id: str, identity: Identity) -> ContentFile:
        row = self.index.get(id)
        if row is None:  # a disk that turned read-only has what it had
            self.index.add(id, identity)
        size = self._options.chunk_size
        content = ContentFile(self.disk, self.directory, id, identity, size)
        content.unseal, content.lost = partial(self.index.seal, id, None), partial(self._lost, id)
        content.seal = self.sealer.holding(content)
        if content.complete and not content.trusted and not content.header.chunks:
            self.sealer.seal(content)
        known = row.present if row else 0
        if content.present != known:  # the map lost records, or has some that came last
            self._lost(id, known - content.present, content.present)
        return content

    def _lost(self, id: str, count: int, present: int) -> None:
        """Of content `id` only `present` bytes are there, `count` less than before."""
        with contextlib.suppress(HardtackError):  # counted when the index can be written again
            self.index.present(id, present)
            self._give_room_back(count)

    def content(self, entry: Entry) -> ContentFile:
        """The content of a file of the source, as `open`."""
        return self.open(*identity_of(self.source, entry))

    def to_read(self, id: str, identity: Identity) -> ContentFile:
        """As `open`; where the disk takes no new content, one that is never kept."""
        try:
            return self.open(id, identity)
        except FormatError:
            raise
        except CacheError as error:
            self._complain(_reason(error, self.directory))
        with self._lock:
            content = self._passing.get(id)
            if content is None:
                size = self._options.chunk_size
                content = PassingContent(self.disk, self.directory, id, identity, size)
                self._passing[id] = content
            return content

    def present_of(self, id: str) -> int:
        """Bytes of `id` that are there."""
        content = self._open.get(id)
        if content is not None:
            return content.present
        row = self.index.get(id)
        return row.present if row else 0

    def presence(self, entry: Entry) -> Presence:
        """How much of an entry of the source is there."""
        if entry.kind is not Kind.FILE or entry.size == 0:
            return Presence(State.COMPLETE, entry.size, entry.size)
        present = self.present_of(identity_of(self.source, entry)[0])
        if present >= entry.size:
            return Presence(State.COMPLETE, entry.size, entry.size)
        return Presence(State.PARTIAL if present else State.ABSENT, present, entry.size)

    def trusted_fd(self, id: str) -> int | None:
        """A new read-only descriptor of a sealed content whose fingerprint holds; else None.

        Who was told before to hold it has it for as long as that: it is not removed meanwhile.
        """
        with self._lock:
            row = self.index.get(id)
            if row is None or row.seal is None or not self.sealer.believes(id):
                return None
            try:
                fd = self.disk.open(data_path(self.directory, id), os.O_RDONLY)
            except OSError:
                return None
            if row.seal == fingerprint_of(self.disk.fstat(fd)):
                self.index.use(id)
                return fd
            self.disk.close(fd)
            content = self._open.get(id)
            if content is not None:
                content.distrust()
            return None

    # -- landing

    def land(self, content: ContentFile, chunk: int, data: memoryview, *, direct: bool) -> bool:
        """Write a chunk and see that its record follows; False when the disk doesn't take it."""
        if not self._written(
            content, len(data), partial(content.write, chunk, data, direct=direct)
        ):
            return False
        total = checksum(data)
        with self._lock:
            if content.gone:  # it was evicted while this was written
                self._give_room_back(len(data))
                return False
            content.land(chunk, total)  # before the flusher, who records what has landed
        self._flusher.landed(content, chunk)
        return True

    def keep_part(self, content: ContentFile, chunk: int, data: memoryview, kept: int) -> bool:
        """Make `data`, the start of a chunk, last; False when the disk doesn't take it."""
        count, write = len(data) - kept, partial(content.keep_part, chunk, data, kept)
        if content.gone or not self._written(content, count, write):
            return False
        self._give_room_back(count)  # it counts when the chunk is whole
        return True

    def _written(self, content: ContentFile, count: int, write: Callable[[], None]) -> bool:
        """Whether there was room for `count` bytes, and the disk took them; they count then."""
        taken = 0
        try:
            if not self._take_room(count):
                return False
            taken = count
            write()
        except (OSError, HardtackError) as error:
            self._refuse(error, _reason(error, content.path))
            self._give_room_back(taken)
            self._unlooked = SPACE_STEP
            return False
        return True

    def reserve(self, content: ContentFile, start: int, stop: int) -> bool:
        """Give holes that are about to be written their place on disk, where there is room."""
        if content.gone or content.bad:
            return False
        try:
            short = self.shortage(content.bytes_of(range(start, stop))) > 0
        except OSError:  # the writes will tell why
            return False
        return not short and content.reserve(start, stop)

    def refusal(self, content: ContentFile) -> HardtackError:
        """Why `content`, which was fetched, isn't all there."""
        who = content.header.identity
        return self._refusal.of(who.key, who.size - content.bytes_of(content.sums))

    def _refuse(self, error: OSError | HardtackError, text: str) -> None:
        number = error.errno
        with contextlib.suppress(OSError):
            free, _ = self.disk.free(self.directory)
            self._refusal = refusal.unwritable(number, text, free)
        self._complain(text)

    def _complain(self, text: str, remedy: str = "") -> None:
        """Say once why nothing is kept any more."""
        text = (
            f"{text}; reads stream past it, and fetch anew what was read before. {remedy}".strip()
        )
        if text != self.complaint:
            self.complaint = text
            log.warning("%s", text)

    def flush(self) -> None:
        """Wait until what has landed has its records."""
        self._flusher.flush()

    def _record(self, content: ContentFile, chunks: list[int]) -> None:
        if content.gone:
            return
        try:
            content.record(chunks)
        except OSError as error:
            self._refuse(error, f"{content.path} can't be made to last: {error.strerror}")
            lost = [chunk for chunk in chunks if content.sums.pop(chunk, None) is not None]
            self._give_room_back(content.bytes_of(lost))
            return
        try:
            self.index.present(content.id, content.present)
        except HardtackError as error:  # the chunks have their records; only the sum is old
            self._complain(_reason(error, content.path))
            return
        if len(content.recorded) == content.header.chunks:
            self.sealer.seal(content)

    # -- space

    def _take_room(self, incoming: int) -> bool:
        """Count `incoming` bytes as there, where they have room: several chunks come at once."""
        with self._lock:
            self._unlooked += incoming
            limit = self._options.size_limit
            over = limit is not None and self._present + incoming > limit
            if self._unlooked < SPACE_STEP and not over:
                self._present += incoming
                return True
            need = self.shortage(incoming)
            if need > 0:
                freed = self.make_room(need)
                if freed < need:
                    limit, keep_free = self._options.size_limit, self._options.keep_free
                    free, _ = self.disk.free(self.directory)
                    self._refusal = refusal.no_room(self._present, limit, free, keep_free, incoming)
                    why = self._refusal
                    self._complain(f"the cache {self.directory} is full", why.remedy)
                    return False
            self._present += incoming
            self._unlooked = 0
            self.complaint = ""
            return True

    def _give_room_back(self, count: int) -> None:
        with self._lock:
            self._present -= count

    def shortage(self, incoming: int) -> int:
        """Bytes that must go before `incoming` may come."""
        options = self._options
        free, _ = self.disk.free(self.directory)
        return shortage(self._present, options.size_limit, free, options.keep_free, incoming)

    def make_room(self, need: int) -> int:
        """Evict the least recently used until `need` bytes are free; the bytes given back."""
        freed = 0
        for row in list(victims(self.index.oldest_first(), need, self._keeps)):
            freed += self.remove(row) or 0
        if freed:
            options = self._options
            self._refusal = refusal.gave_way(options.size_limit, options.keep_free)
        if freed and time.monotonic() >= self._told_of_room + AGAIN:
            self._told_of_room = time.monotonic()
            log.warning(
                "%s evicted from %s to make room: who reads it again fetches it again. A larger"
                " --cache-size or a smaller --keep-free keeps more",
                format_size(freed), self.directory,
            )  # fmt: skip
        return freed

    def remove(self, row: Row) -> int | None:
        """Remove a content's files; the bytes given back. None where it must stay: it may have been
        opened since it was chosen."""
        with self._lock:
            if self._keeps(row.id):
                return None
            present = self._let_go(row)
            path = data_path(self.directory, row.id)
            for each in (path.with_suffix(".map"), path):
                try:
                    self.disk.unlink(each)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    raise CacheError(
                        f"{each} can't be removed: {error.strerror}.",
                        remedy="Check the cache directory's permissions and its disk.",
                    ) from error
            self.on_remove(row.id)
            self.index.remove(row.id)  # now that there is room for it
            self._present = max(0, self._present - present)
            self._counters.add(evicted_bytes=present)
            return present

    def _let_go(self, row: Row) -> int:
        """Leave the content to those who read it; its bytes that were there."""
        content = self._open.pop(row.id, None)
        if content is None:
            return row.present
        content.gone = True
        present = content.bytes_of(content.sums)
        content.sums.clear()
        self._recent.pop(row.id, None)
        return present

    @property
    def present_bytes(self) -> int:
        """Bytes of all contents that are there."""
        return self._present

    def close(self) -> None:
        """Record what has landed, and stop."""
        self._flusher.close()
        self.sealer.close()
        self._recent.clear()
        self.index.close()


def _reason(error: OSError | HardtackError, path: Path) -> str:
    if isinstance(error, HardtackError):
        return error.message.removesuffix(".")
    return f"{path} can't be written: {error.strerror}"
