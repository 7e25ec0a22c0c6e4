"""The cache's bytes: contents that are open, their seals, the room they take.

A content is sealed when it was verified wholly: every chunk there, and the whole compared with
what the source says of it. The seal is the file's fingerprint.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from hardtack.cache import refusal
from hardtack.cache.api import Options
from hardtack.cache.chunkmap import Identity
from hardtack.cache.content import ContentFile, PassingContent, checksum, data_path
from hardtack.cache.counters import Counters
from hardtack.cache.disk import Disk
from hardtack.cache.eviction import shortage, victims
from hardtack.cache.flushing import Flusher
from hardtack.cache.index import Index, Row
from hardtack.cache.pieces import Pieces
from hardtack.core.errors import CacheError, FormatError, HardtackError, ObjectChanged, SourceError
from hardtack.core.units import format_size
from hardtack.source.api import ObjectInfo, Source

log = logging.getLogger(__name__)

OPEN_CONTENTS = 128
SPACE_STEP = 16 << 20  # bytes written between two looks at the disk's free space
PIECE = 1 << 20
AGAIN = 3600.0
"""Seconds until it is said once more that files go to make room."""


class Store:
    """All contents of a cache directory. Thread-safe."""

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
        self._directory, self._source, self._options = directory, source, options
        self.disk, self._counters, self._pieces, self._keeps = disk, counters, pieces, keeps
        (directory / "content").mkdir(mode=0o700, exist_ok=True)
        self.index = Index(directory)
        self._lock = threading.RLock()
        self._open: weakref.WeakValueDictionary[str, ContentFile] = weakref.WeakValueDictionary()
        self._passing: weakref.WeakValueDictionary[str, ContentFile] = weakref.WeakValueDictionary()
        self._recent: OrderedDict[str, ContentFile] = OrderedDict()
        self._reverified: set[str] = set()
        self._present = self.index.totals()[0]
        self._unlooked = SPACE_STEP
        self.complaint = ""
        self._told_of_room = -AGAIN
        self._refusal = refusal.Refusal("it was evicted meanwhile", "Run it again.", False)
        self._flusher = Flusher(self._record, pieces.trim)
        self._sealer = ThreadPoolExecutor(1, "seal", initializer=_be_nice)
        self._sealing: dict[str, Future[bool]] = {}

    # -- contents

    def open(self, id: str, identity: Identity) -> ContentFile:
        """The content `id`, created when it isn't there. Raises FormatError, CacheError."""
        with self._lock:
            content = self._open.get(id)
            if content is None:
                if self.index.get(id) is None:  # a disk that turned read-only has what it had
                    self.index.add(id, identity)
                size = self._options.chunk_size
                content = ContentFile(self.disk, self._directory, id, identity, size)
                content.unseal = partial(self.index.seal, id, None)
                content.trusted = self.seal_holds(content)
                self._open[id] = content
                if content.complete and not content.trusted and not content.header.chunks:
                    self.complete(content)
            self._recent[id] = content
            self._recent.move_to_end(id)
            while len(self._recent) > OPEN_CONTENTS:
                self._recent.popitem(last=False)
        self.index.use(id)
        return content

    def to_read(self, id: str, identity: Identity) -> ContentFile:
        """As `open`; where the disk takes no new content, one that is never kept."""
        try:
            return self.open(id, identity)
        except FormatError:
            raise
        except CacheError as error:
            self._complain(_reason(error, self._directory))
        with self._lock:
            content = self._passing.get(id)
            if content is None:
                size = self._options.chunk_size
                content = PassingContent(self.disk, self._directory, id, identity, size)
                self._passing[id] = content
            return content

    def present_of(self, id: str) -> int:
        """Bytes of `id` that are there."""
        content = self._open.get(id)
        if content is not None:
            return content.present
        row = self.index.get(id)
        return row.present if row else 0

    def seal_holds(self, content: ContentFile) -> bool:
        """Whether it was verified wholly, and nobody touched its file since."""
        row = self.index.get(content.id)
        if row is None or row.seal is None or row.seal != content.fingerprint():
            return False
        content.remake_records()  # nobody touched the data: what the map lost is still there
        return content.complete and self._believed(content.id)

    def _believed(self, id: str) -> bool:
        return not self._options.verify_always or id in self._reverified

    def trusted_fd(self, id: str) -> int | None:
        """A new read-only descriptor of a sealed content whose fingerprint holds; else None."""
        row = self.index.get(id)
        if row is None or row.seal is None or not self._believed(id):
            return None
        try:
            fd = self.disk.open(data_path(self._directory, id), os.O_RDONLY)
        except OSError:
            return None
        found = self.disk.fstat(fd)
        if row.seal == (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns):
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
        try:
            if not self._room_for(len(data)):
                return False
            content.write(chunk, data, direct=direct)
        except (OSError, HardtackError) as error:
            self._refuse(error, _reason(error, content.path))
            self._unlooked = SPACE_STEP
            return False
        with self._lock:
            self._present += len(data)
        content.land(chunk, checksum(data))  # before the flusher, who records what has landed
        self._flusher.landed(content, chunk)
        return True

    def reserve(self, content: ContentFile, start: int, stop: int) -> bool:
        """Give holes that are about to be written their place on disk, where there is room."""
        if content.gone or content.bad or self.shortage(content.bytes_of(range(start, stop))) > 0:
            return False
        return content.reserve(start, stop)

    def refusal(self, content: ContentFile) -> HardtackError:
        """Why `content`, which was fetched, isn't all there."""
        who = content.header.identity
        return self._refusal.of(who.key, who.size - content.bytes_of(content.sums))

    def _refuse(self, error: OSError | HardtackError, text: str) -> None:
        number = error.errno
        with contextlib.suppress(OSError):
            free, _ = self.disk.free(self._directory)
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
            for chunk in chunks:
                content.sums.pop(chunk, None)
            return
        try:
            self.index.present(content.id, content.present)
        except HardtackError as error:  # the chunks have their records; only the sum is old
            self._complain(_reason(error, content.path))
            return
        if len(content.recorded) == content.header.chunks:
            self.complete(content)

    # -- sealing

    def complete(self, content: ContentFile) -> Future[bool]:
        """Verify a complete content wholly in the background, and seal it."""
        with self._lock:
            future = self._sealing.get(content.id)
            if future is None or future.done():
                future = self._sealing[content.id] = self._sealer.submit(self._seal, content)
                future.add_done_callback(lambda _: self._sealing.pop(content.id, None))
            return future

    def _seal(self, content: ContentFile) -> bool:
        who = content.header.identity
        try:
            self._forget_unchecked(content)
            before = content.fingerprint()
            if content.complete:  # no hole is left that may be written past the page cache
                self.disk.read_ahead(content.data.fd)
            if not content.complete or not self._proven(content):
                return False
            self.disk.fdatasync(content.data.fd)
            self.disk.fdatasync(content.map.fd)
            if content.gone or content.fingerprint() != before or not content.complete:
                return False
            self.index.present(content.id, content.present)
            self.index.seal(content.id, before)
            self._reverified.add(content.id)
            content.trusted = True
            return True
        except (HardtackError, OSError) as error:
            log.warning("%s isn't verified yet: %s", who.key, error)
            return False

    def _forget_unchecked(self, content: ContentFile) -> None:
        for chunk in sorted(set(content.sums) - content.checked):
            content.check(chunk)

    def _proven(self, content: ContentFile) -> bool:
        """Compare the whole with what the source says of it."""
        who = content.header.identity
        info = ObjectInfo(who.key, who.size, who.etag, 0)
        if info.md5 is None:
            return self._checksum_agrees(content, info) is not False
        if not self.index.etags_are_md5(who.source):
            return True
        digest = _digest(content, "md5")
        if digest.hex() == info.md5:
            return True
        return self._doubt(content, info, digest)

    def _checksum_agrees(self, content: ContentFile, info: ObjectInfo) -> bool | None:
        if content.header.identity.source != self._source.url:
            return None
        try:
            kept = self._source.checksum(info)
        except SourceError:
            return None  # each reply was checked as it came; the store's word is a bonus
        if kept is None or kept.algorithm not in {"crc32", "sha1", "sha256", "md5"}:
            return None
        if _digest(content, kept.algorithm) == kept.value:
            return True
        self.punch_all(content, f"its {kept.algorithm} isn't the one that the source keeps")
        return False

    def _doubt(self, content: ContentFile, info: ObjectInfo, digest: bytes) -> bool:
        """The bytes aren't those of the ETag: fetch the whole once more and compare.

        Equal again: the store's ETags are no MD5s (it encrypts). Else the bytes here are wrong.
        """
        who = content.header.identity
        if who.source != self._source.url:
            return False
        if (agrees := self._checksum_agrees(content, info)) is not None:
            if agrees:
                self.index.disbelieve_etags(who.source)
            return agrees
        again = hashlib.md5(usedforsecurity=False)
        buffer = memoryview(bytearray(PIECE))
        try:
            with self._source.stream(info, 0, info.size) as stream:
                while count := stream.readinto(buffer):
                    again.update(buffer[:count])
        except ObjectChanged:
            return False
        if again.digest() != digest:
            self.punch_all(content, "its bytes aren't those of its ETag")
            return False
        log.warning("the ETags of %s are no MD5s: replies are compared twice once", who.source)
        self.index.disbelieve_etags(who.source)
        return True

    def punch_all(self, content: ContentFile, why: str) -> None:
        """Give up every chunk of a content whose whole is wrong."""
        who = content.header.identity
        log.error("%s/%s is fetched anew: %s", who.source, who.key, why)
        self._counters.add(bad_chunks=len(content.sums))
        self._pieces.forget(content.id)
        for chunk in list(content.sums):
            content.punch(chunk)
        self.index.seal(content.id, None)
        self.index.present(content.id, 0)

    def reseal(self, content: ContentFile) -> None:
        """Keep the seal of a file that was only linked (which changes its ctime)."""
        row, now = self.index.get(content.id), content.fingerprint()
        if row is not None and row.seal is not None and row.seal[:3] == now[:3]:
            self.index.seal(content.id, now)

    # -- space

    def _room_for(self, incoming: int) -> bool:
        with self._lock:
            self._unlooked += incoming
            limit = self._options.size_limit
            over = limit is not None and self._present + incoming > limit
            if self._unlooked < SPACE_STEP and not over:
                return True
            need = self.shortage(incoming)
            if need > 0:
                freed = self.make_room(need)
                if freed < need:
                    limit, keep_free = self._options.size_limit, self._options.keep_free
                    free, _ = self.disk.free(self._directory)
                    self._refusal = refusal.no_room(self._present, limit, free, keep_free, incoming)
                    why = self._refusal
                    self._complain(f"the cache {self._directory} is full", why.remedy)
                    return False
            self._unlooked = 0
            self.complaint = ""
            return True

    def shortage(self, incoming: int) -> int:
        """Bytes that must go before `incoming` may come."""
        options = self._options
        free, _ = self.disk.free(self._directory)
        return shortage(self._present, options.size_limit, free, options.keep_free, incoming)

    def make_room(self, need: int) -> int:
        """Evict the least recently used until `need` bytes are free; the bytes given back."""
        freed = 0
        for row in list(victims(self.index.oldest_first(), need, self._keeps)):
            freed += self.remove(row)
        if freed and time.monotonic() >= self._told_of_room + AGAIN:
            self._told_of_room = time.monotonic()
            log.warning(
                "%s evicted from %s to make room: who reads it again fetches it again. A larger"
                " --cache-size or a smaller --keep-free keeps more",
                format_size(freed), self._directory,
            )  # fmt: skip
        return freed

    def remove(self, row: Row) -> int:
        """Remove a content's files; the bytes given back."""
        with self._lock:
            content = self._open.pop(row.id, None)
            present = row.present
            if content is not None:
                content.gone = True
                present = content.bytes_of(content.sums)
                content.sums.clear()
                self._recent.pop(row.id, None)
            path = data_path(self._directory, row.id)
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
            self.index.remove(row.id)
            self._present = max(0, self._present - present)
            self._counters.add(evicted_bytes=present)
            return present

    @property
    def present_bytes(self) -> int:
        """Bytes of all contents that are there."""
        return self._present

    def close(self) -> None:
        """Record what has landed, and stop."""
        self._flusher.close()
        self._sealer.shutdown(wait=True, cancel_futures=True)
        self._recent.clear()
        self.index.close()


def _reason(error: OSError | HardtackError, path: Path) -> str:
    if isinstance(error, HardtackError):
        return error.message.removesuffix(".")
    return f"{path} can't be written: {error.strerror}"


def _pieces(content: ContentFile) -> Iterator[bytes]:
    offset, size = 0, content.header.identity.size
    while offset < size and (data := content.read(offset, PIECE)):
        yield data
        offset += len(data)


def _digest(content: ContentFile, algorithm: str) -> bytes:
    """The digest of the whole data file; big-endian for crc32."""
    if algorithm == "crc32":
        value = 0
        for data in _pieces(content):
            value = zlib.crc32(data, value)
        return value.to_bytes(4, "big")
    hasher = hashlib.new(algorithm, usedforsecurity=False)
    for data in _pieces(content):
        hasher.update(data)
    return hasher.digest()


def _be_nice() -> None:
    """Sealing yields to whoever reads."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
