"""What the cache counts, for status and metrics."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Counters:
    """Totals since the process started; sizes in bytes."""

    fetched_bytes: int = 0
    read_bytes: int = 0
    hits: int = 0
    misses: int = 0
    fetch_errors: int = 0
    bad_chunks: int = 0
    evicted_bytes: int = 0
    passed_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        """Add to counters by name, at once."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)
