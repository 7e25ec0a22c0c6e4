"""Making what has landed last, in batches: one fdatasync for all that came in a moment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from hardtack.cache.content import ContentFile

log = logging.getLogger(__name__)

SECONDS = 0.05
"""How long a chunk waits for others before its record is written."""
IDLE = 1.0
"""Seconds without a chunk after which nothing is being fetched."""


class Flusher:
    """A thread that calls `record` with the landed chunks of each content, in turn."""

    def __init__(
        self, record: Callable[[ContentFile, list[int]], None], idle: Callable[[], None]
    ) -> None:
        self._record, self._idle = record, idle
        self._wake = threading.Condition()
        self._landed: dict[ContentFile, list[int]] = {}
        self._waiting: list[threading.Event] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    def landed(self, content: ContentFile, chunk: int) -> None:
        """`chunk` is written; its record may follow."""
        with self._wake:
            first = not self._landed
            self._landed.setdefault(content, []).append(chunk)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flush", daemon=True)
                self._thread.start()
            if first:
                self._wake.notify()

    def flush(self) -> None:
        """Wait until what has landed has its records."""
        done = threading.Event()
        with self._wake:
            if self._thread is None or self._closed:
                return
            self._waiting.append(done)
            self._wake.notify()
        done.wait()

    def close(self) -> None:
        """Record what has landed, and stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _hurried(self) -> bool:
        return self._closed or bool(self._waiting)

    def _due(self) -> bool:
        return bool(self._landed) or self._hurried()

    def _record_one(self, content: ContentFile, chunks: list[int]) -> None:
        try:
            self._record(content, chunks)
        except Exception:
            log.exception("recording chunks of %s failed", content.path)

    def _run(self) -> None:
        closed = False
        while not closed:
            with self._wake:
                if not self._wake.wait_for(self._due, IDLE):
                    self._idle()
                    self._wake.wait_for(self._due)
                self._wake.wait_for(self._hurried, SECONDS)
                landed, self._landed = self._landed, {}
                waiting, self._waiting = self._waiting, []
                closed = self._closed
            while landed:  # emptied: who has an evicted file here keeps its room
                self._record_one(*landed.popitem())
            for event in waiting:
                event.set()
