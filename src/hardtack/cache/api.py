"""What the mount and the commands ask of a cache: the words and the Protocol.

`Cache` (in `cache/cache.py`) is the owner of a cache directory; `mount/control.py` speaks the
same operations over a socket for the processes that don't own it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_size

ROOT = 1
"""Entry id (and inode number) of the root directory."""


class Kind(StrEnum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


class Entry(NamedTuple):
    """One name in the tree. `id` is its inode number and belongs to one identity for ever.

    `target` is a link's text, else empty; `key` is empty for directories; sizes in bytes.
    """

    id: int
    parent: int
    name: str
    kind: Kind
    key: str
    size: int
    etag: str
    mtime_ns: int
    target: str


class State(StrEnum):
    """How much of an object is in the cache."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    ABSENT = "absent"


Reply = Callable[[memoryview | BaseException], None]
"""Called once with the bytes that were asked for (valid during the call only) or the error."""


@dataclass(frozen=True, slots=True)
class Presence:
    """How much of an object is there: `present` of `size` bytes."""

    state: State
    present: int
    size: int


@dataclass(frozen=True, slots=True)
class Options:
    """How a cache behaves; sizes in bytes, durations in seconds, rates in bytes a second."""

    size_limit: int | None = None
    keep_free: int = 1 << 30
    chunk_size: int = 1 << 20
    max_request: int = 8 << 20
    connections: int = 6
    refresh_interval: float = 900.0
    scrub_rate: int = 1 << 20
    verify_always: bool = False
    follow: str = "latest"  # latest | frozen | release NAME


def parse_limit(text: str) -> int:
    """Bytes of a `size_limit` as people write it. Raises ConfigError where it holds no chunk."""
    size, least = parse_size(text), Options().chunk_size
    if size < least:
        raise ConfigError(
            f"{text!r} holds nothing: files are kept in chunks of 1MiB ({least} bytes).",
            remedy="Give 1MiB at least, and what the largest file that is to stay needs.",
        )
    return size


Invalidation = Sequence[tuple[int, str]]
"""(parent id, name) of the entries that a new generation changed."""
