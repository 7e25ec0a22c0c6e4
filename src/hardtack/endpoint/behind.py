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
_GATHERING = 0.05
"""Seconds for which the first waits for others, unless somebody waits for it: a transaction costs
what several picture files do, and a thread that wakes for each answer is in the next one's way."""


class Behind(Generic[T]):
    """Thread-safe; a thread of its own writes."""

    def __init__(self, write: Callable[[Sequence[T]], None], most_bytes: int) -> None:
        """`write` takes up to 64 items, and tells of what it can't write; `most_bytes` of them may
        wait for it."""
        self._write = write
        self._most_bytes = most_bytes
        lock = threading.Lock()
        self._written = threading.Condition(lock)
        self._to_do = threading.Condition(lock)
        self._waiting: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._awaited = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
        self._thread.start()

    def put(self, key: str, item: T, size: int) -> None:
        """Have `item`, of `size` bytes, written; waits where too many bytes wait already. What
        comes after the end isn't, which is told."""
        with self._written:
            self._await(lambda: self._closed or self._has_room(key, size))
            if self._closed:
                _log.error("%s isn't written: it came after the end", key)
                return
            self._add(key, item, size)

    def offer(self, key: str, item: T, size: int) -> bool:
        """The same, where it need not wait; else False."""
        with self._written:
            welcome = not self._closed and self._has_room(key, size)
            if welcome:
                self._add(key, item, size)
            return welcome

    def settle(self, key: str | None = None) -> None:
        """Until what was put under `key`, or all that was put by now, is written."""
        if not self._waiting:
            return
        with self._written:
            keys = [key] if key is not None else list(self._waiting)
            self._await(lambda: not any(k in self._waiting for k in keys))

    def close(self) -> None:
        """Until all is written."""
        with self._written:
            self._closed = True
            self._to_do.notify()
            self._written.notify_all()
        self._thread.join()

    def _add(self, key: str, item: T, size: int) -> None:
        self._waiting[key] = (item, size)
        self._bytes += size
        if len(self._waiting) == 1 or self._is_urgent():
            self._to_do.notify()

    def _await(self, done: Callable[[], bool]) -> None:
        """Until `done`, which the writer is told to hurry for."""
        if done():
            return
        self._awaited += 1
        self._to_do.notify()
        self._written.wait_for(done)
        self._awaited -= 1

    def _is_urgent(self) -> bool:
        full = len(self._waiting) >= _TOGETHER or 2 * self._bytes >= self._most_bytes
        return full or self._awaited > 0 or self._closed

    def _has_room(self, key: str, size: int) -> bool:
        most = not self._waiting or self._bytes + size <= self._most_bytes
        return most and key not in self._waiting

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._write([item for _, (item, _) in batch])
            except Exception:  # noqa: BLE001 (whoever waits for them must not wait for ever)
                _log.exception("%d are not written", len(batch))
            with self._written:
                for key, (_, size) in batch:
                    del self._waiting[key]
                    self._bytes -= size
                self._written.notify_all()

    def _next(self) -> list[tuple[str, tuple[T, int]]]:
        """The oldest that wait; nothing once it is closed and all is written."""
        with self._to_do:
            self._to_do.wait_for(lambda: self._waiting or self._closed)
            self._to_do.wait_for(self._is_urgent, _GATHERING)
            return list(self._waiting.items())[:_TOGETHER]
