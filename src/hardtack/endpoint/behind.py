"""What is written behind an answer: in order, several at a time, and never much of it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")

_TOGETHER = 64


class Behind(Generic[T]):
    """Thread-safe; a thread of its own writes."""

    def __init__(self, write: Callable[[Sequence[T]], None], most_bytes: int) -> None:
        """`write` takes up to 64 items, and tells of what it can't write; `most_bytes` of them may
        wait for it."""
        self._write = write
        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
        self._thread.start()

    def put(self, key: str, item: T, size: int) -> None:
        """Have `item`, of `size` bytes, written; waits where too many bytes wait already. What
        comes after the end isn't, which is told."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(key, size))
            if self._closed:
                _log.error("%s isn't written: it came after the end", key)
                return
            self._waiting[key] = (item, size)
            self._bytes += size
            self._changed.notify_all()

    def settle(self, key: str | None = None) -> None:
        """Until what was put under `key`, or all that was put by now, is written."""
        if not self._waiting:
            return
        with self._changed:
            keys = [key] if key is not None else list(self._waiting)
            self._changed.wait_for(lambda: not any(k in self._waiting for k in keys))

    def close(self) -> None:
        """Until all is written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _has_room(self, key: str, size: int) -> bool:
        most = not self._waiting or self._bytes + size <= self._most_bytes
        return most and key not in self._waiting

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._write([item for _, (item, _) in batch])
            except Exception:  # noqa: BLE001 (whoever waits for them must not wait for ever)
                _log.exception("%d are not written", len(batch))
            with self._changed:
                for key, (_, size) in batch:
                    del self._waiting[key]
                    self._bytes -= size
                self._changed.notify_all()

    def _next(self) -> list[tuple[str, tuple[T, int]]]:
        """The oldest that wait; nothing once it is closed and all is written."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return list(self._waiting.items())[:_TOGETHER]
