"""Whose turn it is to load: over a slow link most detectors are up soonest, smallest first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """So many have a turn at a time; of those that wait for one the smallest is next. For one
    event loop."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._came = 0

    @asynccontextmanager
    async def one(self, size: int) -> AsyncIterator[None]:
        """A turn, for who will load `size` bytes."""
        mine = asyncio.get_running_loop().create_future()
        self._came += 1
        heapq.heappush(self._waiting, (size, self._came, mine))
        self._grant()
        try:
            await mine
            yield
        finally:
            if mine.done() and not mine.cancelled():
                self._free += 1
                self._grant()

    def _grant(self) -> None:
        while self._free and self._waiting:
            *_, following = heapq.heappop(self._waiting)
            if not following.done():  # who gave up waiting
                self._free -= 1
                following.set_result(None)
