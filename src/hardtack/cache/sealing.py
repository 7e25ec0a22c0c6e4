"""Sealing: a content is verified wholly once, and then trusted while nobody touches its file.

Every chunk is there, and the whole was compared with what the source says of it. The seal is the
file's fingerprint.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from hardtack.cache.content import ContentFile, Fingerprint
from hardtack.cache.counters import Counters
from hardtack.cache.disk import Disk
from hardtack.cache.index import Index
from hardtack.cache.pieces import Pieces
from hardtack.core.errors import HardtackError, ObjectChanged, SourceError
from hardtack.source.api import ObjectInfo, Source

log = logging.getLogger(__name__)

PIECE = 1 << 20


class Sealer:
    """The one who seals, in a thread that yields to whoever reads. Thread-safe.

    With `verify_always` a seal of an earlier process isn't believed.
    """

    def __init__(
        self,
        index: Index,
        source: Source,
        disk: Disk,
        counters: Counters,
        pieces: Pieces,
        *,
        verify_always: bool,
    ) -> None:
        self._index, self._source, self._disk = index, source, disk
        self._counters, self._pieces, self._verify_always = counters, pieces, verify_always
        self._reverified: set[str] = set()
        self._lock = threading.Lock()
        self._sealing: dict[str, Future[bool]] = {}
        self._thread = ThreadPoolExecutor(1, "seal", initializer=_be_nice)

    def holding(self, content: ContentFile) -> Fingerprint | None:
        """The seal, where it was verified wholly and nobody touched its file since."""
        row = self._index.get(content.id)
        if row is None or row.seal is None or row.seal != content.fingerprint():
            return None
        try:
            content.remake_records()  # nobody touched the data: what the map lost is still there
        except OSError as error:
            log.warning("%s can't be read: %s", content.path, error.strerror)
        return row.seal if content.complete and self.believes(content.id) else None

    def believes(self, id: str) -> bool:
        """Whether a seal of content `id` is enough, or it is to be verified in this process."""
        return not self._verify_always or id in self._reverified

    def seal(self, content: ContentFile) -> Future[bool]:
        """Verify a complete content wholly in the background, and seal it; whether it is."""
        with self._lock:
            future = self._sealing.get(content.id)
            if future is None or future.done():
                future = self._sealing[content.id] = self._thread.submit(self._seal, content)
                future.add_done_callback(lambda _: self._sealing.pop(content.id, None))
            return future

    def renew(self, content: ContentFile) -> None:
        """Keep the seal of a file that was only linked (which changes its ctime)."""
        row, now = self._index.get(content.id), content.fingerprint()
        if row is not None and row.seal is not None and row.seal[:3] == now[:3]:
            self._index.seal(content.id, now)
            content.seal = content.seal and now

    def close(self) -> None:
        """Finish what is being verified; the rest is at the next start."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _seal(self, content: ContentFile) -> bool:
        who = content.header.identity
        try:
            self._forget_unchecked(content)
            before = content.fingerprint()
            if content.complete:  # no hole is left that may be written past the page cache
                self._disk.read_ahead(content.data.fd)
            if not content.complete or not self._proven(content):
                return False
            self._disk.fdatasync(content.data.fd)
            self._disk.fdatasync(content.map.fd)
            if content.gone or content.fingerprint() != before or not content.complete:
                return False
            self._index.present(content.id, content.present)
            self._index.seal(content.id, before)
            self._reverified.add(content.id)
            content.seal = before
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
        if not self._index.etags_are_md5(who.source):
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
        self._punch_all(content, f"its {kept.algorithm} isn't the one that the source keeps")
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
                self._index.disbelieve_etags(who.source)
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
            self._punch_all(content, "its bytes aren't those of its ETag")
            return False
        log.warning("the ETags of %s are no MD5s: replies are compared twice once", who.source)
        self._index.disbelieve_etags(who.source)
        return True

    def _punch_all(self, content: ContentFile, why: str) -> None:
        """Give up every chunk of a content whose whole is wrong."""
        who = content.header.identity
        log.error("%s/%s is fetched anew: %s", who.source, who.key, why)
        self._counters.add(bad_chunks=len(content.sums))
        self._pieces.forget(content.id)
        for chunk in list(content.sums):
            content.punch(chunk)
        self._index.seal(content.id, None)
        self._index.present(content.id, 0)


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
