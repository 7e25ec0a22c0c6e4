"""The chunk map's format: which chunks of an object are in its content file. Pure.

A header, then records of 16 bytes, appended; the last record of a chunk counts. A record whose
CRC doesn't hold, and a torn one at the end, say nothing. The CRC of a part's record begins with
another value, so that versions that know no parts pass over it. See docs/formats/content.md.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from hardtack.core.errors import FormatError

MAGIC = b"HTKCHUNK"
VERSION = 1
_FIXED = struct.Struct("<8sHHIQI")  # magic, version, reserved, chunk size, object size, JSON length
_BODY = struct.Struct("<IQ")  # chunk (top bit: hole), xxh3_64 of its bytes; their CRC-32 follows
_HOLE = 1 << 31
_PART = 0x54524150  # "PART": what the CRC of a part's record begins with
RECORD_SIZE = _BODY.size + 4


class DamagedMap(Exception):
    """The header's checksum doesn't hold: the map says nothing."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object the bytes belong to."""

    source: str
    key: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Part:
    """The start of a chunk that broke off: bytes, and the low half of their xxh3_64."""

    length: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Header:
    """The head of a map; sizes in bytes."""

    chunk_size: int
    identity: Identity

    @property
    def chunks(self) -> int:
        return -(-self.identity.size // self.chunk_size)

    def length_of(self, chunk: int) -> int:
        """Bytes of `chunk`: the chunk size, less for the last."""
        return min(self.chunk_size, self.identity.size - chunk * self.chunk_size)


def pack_header(header: Header) -> bytes:
    """The bytes of `header`, a multiple of the record's size."""
    who = header.identity
    text = json.dumps({"source": who.source, "key": who.key, "etag": who.etag}).encode()
    text += b" " * (-(_FIXED.size + len(text) + 4) % RECORD_SIZE)
    head = _FIXED.pack(MAGIC, VERSION, 0, header.chunk_size, who.size, len(text)) + text
    return head + struct.pack("<I", zlib.crc32(head))


def unpack_header(data: bytes) -> tuple[Header, int]:
    """The header at the start of `data`, and its length.

    Raises FormatError for another version, DamagedMap for bytes that aren't a header.
    """
    if len(data) < _FIXED.size:
        raise DamagedMap("it is shorter than a header")
    magic, version, _, chunk_size, size, length = _FIXED.unpack_from(data)
    end = _FIXED.size + length
    if magic != MAGIC or len(data) < end + 4:
        raise DamagedMap("it doesn't begin with a whole header")
    if zlib.crc32(data[:end]) != int.from_bytes(data[end : end + 4], "little"):
        raise DamagedMap("its header's checksum doesn't hold")
    if version != VERSION:
        raise FormatError(
            f"the chunk map has format {version}; this version knows format {VERSION}.",
            remedy="Use the version of hardtack that wrote it, or evict the object.",
        )
    text = json.loads(data[_FIXED.size : end])
    return Header(chunk_size, Identity(text["source"], text["key"], text["etag"], size)), end + 4


def pack_record(chunk: int, checksum: int) -> bytes:
    """`chunk` is there, and has this xxh3_64."""
    body = _BODY.pack(chunk, checksum)
    return body + struct.pack("<I", zlib.crc32(body))


def pack_hole(chunk: int) -> bytes:
    """`chunk` isn't there any more."""
    return pack_record(chunk | _HOLE, 0)


def pack_part(chunk: int, part: Part) -> bytes:
    """`part` of `chunk` is there."""
    body = _BODY.pack(chunk, part.length << 32 | part.checksum)
    return body + struct.pack("<I", zlib.crc32(body, _PART))


def unpack_records(data: bytes, chunks: int) -> dict[int, int]:
    """Chunk → xxh3_64 of the chunks that `data` (records only) says are there."""
    present: dict[int, int] = {}
    for chunk, checksum in _valid(data):
        number = chunk & ~_HOLE
        if number >= chunks:
            continue
        if chunk & _HOLE:
            present.pop(number, None)
        else:
            present[number] = checksum
    return present


def unpack_holes(data: bytes, chunks: int) -> set[int]:
    """The chunks that `data` (records only) says were there once, and aren't any more."""
    holes: set[int] = set()
    for chunk, _ in _valid(data):
        number = chunk & ~_HOLE
        if chunk & _HOLE and number < chunks:
            holes.add(number)
        else:
            holes.discard(number)
    return holes


def unpack_parts(data: bytes, chunks: int) -> dict[int, Part]:
    """Chunk → what `data` (records only) says is there of chunks that broke off."""
    parts: dict[int, Part] = {}
    for body, crc in _records(data):
        chunk, value = _BODY.unpack(body)
        if zlib.crc32(body) == crc:
            parts.pop(chunk & ~_HOLE, None)
        elif zlib.crc32(body, _PART) == crc and chunk < chunks:
            parts[chunk] = Part(value >> 32, value & 0xFFFFFFFF)
    return parts


def _valid(data: bytes) -> Iterator[tuple[int, int]]:
    for body, crc in _records(data):
        if zlib.crc32(body) == crc:
            yield _BODY.unpack(body)


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Body and CRC of each record."""
    whole = len(data) - len(data) % RECORD_SIZE
    for offset in range(0, whole, RECORD_SIZE):
        end = offset + _BODY.size
        yield data[offset:end], int.from_bytes(data[end : end + 4], "little")
