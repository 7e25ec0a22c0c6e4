"""What the operations of a cache report: frozen, and of nothing but JSON-able fields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Skipped:
    """A key that can't be a file name, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Of the last listing: `count` keys that can't be names, and `dangling` links that lead to
    nothing in it; the first of each, in words."""

    count: int = 0
    first: tuple[str, ...] = ()
    dangling: int = 0
    first_dangling: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refresh:
    """What one listing changed. `skipped` names at most 1,000 keys, `skipped_count` counts all.
    `frozen`: the view stays by the user's wish, so nothing was listed."""

    generation: int
    added: int
    removed: int
    skipped: tuple[Skipped, ...]
    skipped_count: int
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Prefetched:
    """`files` of `bytes` in all are there; `fetched_bytes` of them came over the network now.
    `exit_code`: 0, or that of the error's class where all of `failed` are of one, else 1."""

    files: int
    bytes: int
    fetched_bytes: int
    failed: tuple[tuple[str, str], ...]
    exit_code: int = 1


def code_of_all(codes: set[int]) -> int:
    """What a command ends with of which several things failed, each with one of these codes."""
    if not codes:
        return 0
    return next(iter(codes)) if len(codes) == 1 else 1


@dataclass(frozen=True, slots=True)
class Release:
    """A kept generation. `created` in seconds since 1970 UTC."""

    name: str
    generation: int
    created: float
    files: int
    bytes: int
    present_bytes: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A bad chunk; `chunk` is -1 where the whole file is meant: it can't be read, or `missing` of
    its chunks were damaged, and dropped earlier. `replaced`: the source has another object in its
    place by now, so the file was taken out of the cache. `kept`: so it has, and nobody can mend the
    file any more, which stays for these releases."""

    path: str
    chunk: int
    repaired: bool
    missing: int = 0
    replaced: bool = False
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification read and found."""

    files: int
    bytes: int
    bad: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class Evicted:
    """What was removed; `kept` counts the files that a release or an open handle keeps."""

    files: int
    bytes: int
    kept: int


@dataclass(frozen=True, slots=True)
class Content:
    """One object of the cache. `used` in seconds since 1970 UTC; `path` is "" when unlisted."""

    path: str
    key: str
    etag: str
    size: int
    present: int
    complete: bool
    pinned: bool
    used: float


@dataclass(frozen=True, slots=True)
class Surveyed:
    """How one file stands: `present` of `size` bytes; `verified`: as a whole, and untouched since;
    `pinned`: a release keeps it. `broken`: the target of a link that leads to no file."""

    path: str
    size: int
    present: int
    verified: bool
    pinned: bool
    broken: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes: `present` of the cache, `limit` of its size, `free` and `total` of the disk."""

    present: int
    limit: int | None
    free: int
    total: int
    files: int


@dataclass(frozen=True, slots=True)
class Status:
    """How the cache is. Times in seconds since 1970 UTC; `eta` in seconds.

    Since the start of its process: bytes that went to make room, and bytes that were fetched and
    not kept. `refusal`: why nothing is kept at present.
    """

    source: str
    reachable_since: float | None
    unreachable_since: float | None
    last_error: str
    generation: int | None
    generation_time: float | None
    objects: int
    bytes: int
    complete: int
    partial: int
    present_bytes: int
    fetched_bytes_total: int
    bytes_read_total: int
    hits: int
    misses: int
    fetching: tuple[tuple[str, int, int], ...]
    eta: float | None
    evicted_bytes_total: int = 0
    passed_bytes_total: int = 0
    refusal: str = ""
    left_out: LeftOut = LeftOut()
