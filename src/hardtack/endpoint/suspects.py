"""Pictures over which a server hung or ended: one that does it twice is not put to it again."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hardtack.core.hands import Hands

_MOST = 256
_STRIKES = 2
_SMALL = 1_000_000
"""Bytes that are hashed sooner than a thread is woken for them."""


@dataclass(frozen=True)
class Suspicion:
    """What is known of a picture before it is judged: how often it was struck, and its SHA-256
    where that had to be asked."""

    strikes: int = 0
    digest: str = ""

    @property
    def guilty(self) -> bool:
        """Whether it was struck too often to be judged again."""
        return self.strikes >= _STRIKES


_NONE = Suspicion()


class Suspects:
    """For one event loop, and called from it alone. `server` is what judges: a detector and its
    model's version.

    All that were under way when a server ended are suspected. A suspect is judged with no other
    suspect beside it, so that the second time only the guilty one is struck.
    """

    def __init__(self) -> None:
        self._strikes: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._alone: dict[str, asyncio.Lock] = {}
        self._hands = Hands(2, "digest")  # which nothing that waits for others may hold

    @asynccontextmanager
    async def judging(
        self, server: str, picture: bytes, patience: float
    ) -> AsyncIterator[Suspicion]:
        """Yields what is suspected of the picture.

        Raises TimeoutError where other suspects take longer than `patience` seconds.
        """
        if not self._strikes:  # as nearly always: the picture's hash is saved
            yield _NONE
            return
        digest = await self._digest(picture)
        found = self._known(server, digest)
        if not found.strikes or found.guilty:
            yield found
            return
        alone = self._alone.setdefault(server, asyncio.Lock())
        async with asyncio.timeout(patience):
            await alone.acquire()
        try:
            yield self._known(server, digest)
        finally:
            alone.release()

    async def strike(self, server: str, picture: bytes, before: Suspicion) -> str:
        """Its server hung or ended over the picture, of which that was known `before`: however many
        queries of one picture a server ends with, that is one strike. The picture's SHA-256."""
        digest = before.digest or await self._digest(picture)
        key = (server, digest)
        self._strikes[key] = max(self._strikes.pop(key, 0), before.strikes + 1)
        while len(self._strikes) > _MOST:
            self._strikes.popitem(last=False)
        return digest

    def acquit(self, server: str, known: Suspicion) -> None:
        """The picture of which that was known was answered."""
        self._strikes.pop((server, known.digest), None)

    def _known(self, server: str, digest: str) -> Suspicion:
        return Suspicion(self._strikes.get((server, digest), 0), digest)

    async def _digest(self, picture: bytes) -> str:
        if len(picture) <= _SMALL:
            return _sha256(picture)
        return await self._hands.run(_sha256, picture)


def _sha256(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()
