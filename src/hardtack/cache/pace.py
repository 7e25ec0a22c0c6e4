"""Whether chunks are written past the page cache. Pure.

Straight to the disk costs no copy and no memory: what is read once through the mount isn't held
twice, and a prefetch doesn't push out what is in use. A disk that is slower than the source is
written through the page cache, which takes up what the disk can't yet.
"""

from __future__ import annotations

SLOW = 1 / (100 << 20)
"""Seconds for a byte from which a disk may be the slower one."""
_WEIGHT = 1 / 16


class Pace:
    """Seconds for a byte, received and written, as running averages."""

    def __init__(self) -> None:
        self._receiving = self._writing = 0.0

    def received(self, count: int, seconds: float) -> None:
        """`count` bytes came within `seconds`."""
        self._receiving += (seconds / max(1, count) - self._receiving) * _WEIGHT

    def written(self, count: int, seconds: float) -> None:
        """`count` bytes were written within `seconds`."""
        self._writing += (seconds / max(1, count) - self._writing) * _WEIGHT

    @property
    def direct(self) -> bool:
        """Whether the next chunk is written past the page cache."""
        return self._writing < max(SLOW, self._receiving)
