"""What must stay in a cache: what is open, and what a release holds."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import TypeVar

from hardtack.cache.api import Kind
from hardtack.cache.catalogue import KEEPS, Catalogue
from hardtack.cache.database import connect, guarded
from hardtack.cache.keys import identity_of


class Holds:
    """The open handles of a source's entries, and the releases of a directory. Thread-safe."""

    def __init__(self, directory: Path, catalogue: Catalogue, source: str) -> None:
        self._directory, self._catalogue, self._source = directory, catalogue, source
        self._entries: Counter[int] = Counter()
        self._contents: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hold(self, id: int) -> None:
        """Count one more open handle of entry `id`."""
        content = self._content_of(id)
        with self._lock:
            self._entries[id] += 1
            if content:
                self._contents[content] += 1

    def drop(self, id: int) -> None:
        """Count one open handle less."""
        content = self._content_of(id)
        with self._lock:
            _less(self._entries, id)
            if content:
                _less(self._contents, content)

    def _content_of(self, id: int) -> str:
        """The content id of entry `id`; empty for what is no file."""
        entry = self._catalogue.entry(id)
        if entry is None or entry.kind is not Kind.FILE:
            return ""
        return identity_of(self._source, entry)[0]

    def entries(self) -> list[int]:
        """The entries that are open."""
        with self._lock:
            return list(self._entries)

    def open(self, content: str) -> bool:
        """Whether a file of this content id is open."""
        with self._lock:
            return content in self._contents

    def pinned(self, content: str) -> bool:
        """Whether a release of any source of this directory holds this content id."""
        if self._catalogue.keeps(content):
            return True
        for path in self._directory.glob("catalogue-*.db"):
            if path != self._catalogue.path and _other_keeps(path, content):
                return True
        return False


def _other_keeps(path: Path, content: str) -> bool:
    db = connect(path)
    try:
        with guarded(path):
            return bool(db.execute(KEEPS, {"content": content}).fetchone())
    finally:
        db.close()


K = TypeVar("K", bound=Hashable)


def _less(counts: Counter[K], key: K) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
