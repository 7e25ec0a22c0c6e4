"""The C library's memory: what a picture took is kept for the next one."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h
_KEPT = 16 << 20
_MAPPED = 32 << 20


def keep_freed_memory() -> None:
    """Give freed memory back to the kernel beyond 16 MB, not beyond a few; all threads share it.

    By itself glibc gives back what each picture took, and the kernel hands out the same pages anew,
    zeroed, for the next: a third of the time that one of 800 × 600 needs. It also keeps memory for
    each thread apart: of pictures of many sizes a thread then has little that fits, while what
    another has kept lies idle. For this process alone and for good; where the C library has no such
    settings, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _MAPPED)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_ARENA_MAX, 1)
