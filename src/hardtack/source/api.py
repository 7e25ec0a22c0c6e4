"""What a source is: the Protocol that every kind implements, and the words that it speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object as a listing tells it. `key` is relative to the source's prefix.

    `etag` is without its quotes, as the store gave it; `mtime_ns` in nanoseconds since 1970 UTC.
    """

    key: str
    size: int
    etag: str
    mtime_ns: int

    @property
    def md5(self) -> str | None:
        """The hex MD5 that a single-part ETag claims to be; None for any other ETag.

        It is a claim: stores with server-side encryption give 32 hex digits that aren't an MD5.
        """
        plain = len(self.etag) == 32 and all(c in "0123456789abcdef" for c in self.etag)
        return self.etag if plain else None


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum of a whole object that the store keeps: algorithm as in `hashlib` or
    `crc32`, `crc32c`, `crc64nvme`; `value` the big-endian bytes."""

    algorithm: str
    value: bytes


class ByteStream(Protocol):
    """The bytes of one range, in order."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the start of `buffer`; the count of bytes, at least 1 until the range's end, then 0.

        A body that breaks off is resumed inside. Raises SourceUnreachable when there is no
        progress within the deadline, and whatever `Source.stream` raises.
        """


class Source(Protocol):
    """Where objects come from. Thread-safe; holds no connection before the first request."""

    @property
    def url(self) -> str:
        """The source's one name, without secrets: `s3://bucket/prefix`, `file:///dir`."""

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        """The whole listing, a page at a time; order over pages is not promised.

        Raises NotFound for a bucket or prefix that doesn't exist (an existing bucket that is
        empty yields no page), AccessDenied, SourceUnreachable, CorruptReply.
        """

    def stream(self, info: ObjectInfo, start: int, stop: int) -> AbstractContextManager[ByteStream]:
        """Bytes [start, stop) of exactly this identity.

        Raises ObjectChanged when the object is gone or another, AccessDenied, SourceUnreachable,
        CorruptReply when status, range, length or ETag of the reply aren't what was asked for.
        """

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        """The checksum of the whole object that the store keeps, when it keeps one."""

    def close(self) -> None:
        """Give back connections; streams under way end with SourceUnreachable."""
