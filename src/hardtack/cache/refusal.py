"""Why the cache doesn't take a chunk, in figures. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from hardtack.core.errors import CacheError, DiskFull
from hardtack.core.units import format_size

_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What kept a chunk out; `full`: nothing but want of room."""

    reason: str
    remedy: str
    full: bool

    def of(self, key: str, needed: int) -> CacheError:
        """The error for the object `key`, of which `needed` bytes aren't there."""
        kind = DiskFull if self.full else CacheError
        text = f"{key} can't be kept: it needs {format_size(needed)} more, and {self.reason}."
        return kind(text, remedy=self.remedy)


def no_room(
    present: int, size_limit: int | None, free: int, keep_free: int, incoming: int
) -> Refusal:
    """Nothing more may be evicted, and `incoming` bytes still have no room."""
    if size_limit is not None and present + incoming > size_limit:
        return Refusal(
            f"the cache holds {format_size(present)} of its --cache-size {format_size(size_limit)},"
            " all of it open or of a release",
            "Raise --cache-size, or unpin a release.",
            True,
        )
    lower = " lower --keep-free," if keep_free else ""
    return Refusal(
        f"its disk has {format_size(free)} free, where --keep-free is {format_size(keep_free)};"
        " nothing of the cache may go",
        f"Free some space on its disk,{lower} or unpin a release.",
        True,
    )


def gave_way(size_limit: int | None, keep_free: int) -> Refusal:
    """It was evicted to make room for others: all of them together have none."""
    bounds = [f"--cache-size is {format_size(size_limit)}"] if size_limit is not None else []
    bounds += [f"--keep-free is {format_size(keep_free)}"] if keep_free else []
    mends = ["raise --cache-size"] if size_limit is not None else []
    mends += ["lower --keep-free"] if keep_free else []
    return Refusal(
        " where ".join(["it gave way to others", *([" and ".join(bounds)] if bounds else [])]),
        ", or ".join([*mends, "fetch less at once"]).capitalize() + ".",
        True,
    )


def unwritable(number: int | None, reason: str, free: int) -> Refusal:
    """The disk, with `free` bytes, refused a write with the errno `number`, for `reason`."""
    reason = f"{reason} ({format_size(free)} free)"
    if number in _FULL:
        return Refusal(reason, "Free some space on its disk, or unpin a release.", True)
    return Refusal(reason, "Check the cache directory and its disk.", False)
