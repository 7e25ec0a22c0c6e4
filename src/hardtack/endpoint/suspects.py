"""Pictures over which a server hung or ended: one that does it twice is not put to it again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

_MOST = 256
_STRIKES = 2


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
    def judging(self, server: str, picture: bytes, patience: float) -> Iterator[str]:
        """Yields the picture's SHA-256 where it has been struck twice, else nothing.

        Raises TimeoutError where other suspects take longer than `patience` seconds.
        """
        if not self._strikes:  # as nearly always: the picture's hash is saved
            yield ""
            return
        key = (server, hashlib.sha256(picture).digest())
        strikes = self._strikes.get(key, 0)
        if not strikes or strikes >= _STRIKES:
            yield key[1].hex() if strikes else ""
            return
        with self._lock:
            alone = self._alone.setdefault(server, threading.Lock())
        if not alone.acquire(timeout=patience):
            raise TimeoutError
        try:
            guilty = self._strikes.get(key, 0) >= _STRIKES
            yield key[1].hex() if guilty else ""
        finally:
            alone.release()

    def strike(self, server: str, picture: bytes) -> None:
        """Its server hung or ended over the picture."""
        key = (server, hashlib.sha256(picture).digest())
        with self._lock:
            self._strikes[key] = self._strikes.pop(key, 0) + 1
            while len(self._strikes) > _MOST:
                self._strikes.popitem(last=False)

    def acquit(self, server: str, picture: bytes) -> None:
        """It was answered."""
        if self._strikes:
            with self._lock:
                self._strikes.pop((server, hashlib.sha256(picture).digest()), None)
