"""Reading a source to the end."""

from __future__ import annotations

from hardtack.source.api import ObjectInfo, Source


def listing(source: Source) -> dict[str, ObjectInfo]:
    """Every object by key; a key listed twice is an error."""
    infos = [info for page in source.pages() for info in page]
    found = {info.key: info for info in infos}
    assert len(found) == len(infos)
    return found


def read(
    source: Source, info: ObjectInfo, start: int = 0, stop: int | None = None, *, piece: int = 65536
) -> bytes:
    data = bytearray()
    buffer = memoryview(bytearray(piece))
    with source.stream(info, start, info.size if stop is None else stop) as stream:
        while count := stream.readinto(buffer):
            data += buffer[:count]
    return bytes(data)
