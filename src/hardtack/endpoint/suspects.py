"""Pictures over which a server hung or ended: one that does it twice is not put to it again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_MOST = 256
_STRIKES = 2


@dataclass(frozen=True)
class Suspicion:
    """What is known of a picture before it is judged: how often it was struck, and where that is
    too often, its SHA-256 as `guilty`."""

    strikes: int = 0
    guilty: str = ""


_NONE = Suspicion()


class Suspects:
    """Thread-safe. `server` is what judges: a detector and its model's version.

    All that were under way when a server ended are suspected. A suspect is judged with no other
    suspect beside it, so that the second time only the guilty one is struck.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._strikes: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._alone: dict[str, threading.Lock] = {}

    @contextmanager
    def judging(self, server: str, picture: bytes, patience: float) -> Iterator[Suspicion]:
        """Yields what is suspected of the picture.

        Raises TimeoutError where other suspects take longer than `patience` seconds.
        """
        if not self._strikes:  # as nearly always: the picture's hash is saved
            yield _NONE
            return
        key = (server, hashlib.sha256(picture).digest())
        strikes = self._strikes.get(key, 0)
        if not strikes or strikes >= _STRIKES:
            yield _suspicion(strikes, key[1])
            return
        with self._lock:
            alone = self._alone.setdefault(server, threading.Lock())
        if not alone.acquire(timeout=patience):
            raise TimeoutError
        try:
            yield _suspicion(self._strikes.get(key, 0), key[1])
        finally:
            alone.release()

    def strike(self, server: str, picture: bytes, before: Suspicion) -> None:
        """Its server hung or ended over the picture, of which that was known `before`: however many
        queries of one picture a server ends with, that is one strike."""
        key = (server, hashlib.sha256(picture).digest())
        with self._lock:
            self._strikes[key] = max(self._strikes.pop(key, 0), before.strikes + 1)
            while len(self._strikes) > _MOST:
                self._strikes.popitem(last=False)

    def acquit(self, server: str, picture: bytes) -> None:
        """It was answered."""
        if self._strikes:
            with self._lock:
                self._strikes.pop((server, hashlib.sha256(picture).digest()), None)


def _suspicion(strikes: int, digest: bytes) -> Suspicion:
    return Suspicion(strikes, digest.hex() if strikes >= _STRIKES else "")
