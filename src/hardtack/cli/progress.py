"""Progress on stderr: bars on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hardtack.core.logs import printable
from hardtack.core.progress import IN_ALL, Meter, Progress
from hardtack.core.units import format_duration, format_size

log = logging.getLogger("hardtack.progress")
INTERVAL = 10.0
"""Seconds between two log lines."""


@contextmanager
def shown(what: str) -> Iterator[Progress]:
    """Progress that people see while `what` goes on."""
    if sys.stderr.isatty():
        with _Bars() as bars:
            yield bars
        return
    lines = _Lines(what)
    yield lines
    lines.finish()


class _Lines:
    """Sums all parts; one log line every INTERVAL seconds and one at the end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._totals: dict[str, int | None] = {}
        self._done = 0
        self._meter = Meter(window=60)
        self._started = self._last = time.monotonic()
        self._meter.sample(self._started, 0)

    def task(self, name: str, total: int | None) -> None:
        with self._lock:
            self._totals[name] = total

    def advance(self, name: str, count: int) -> None:
        with self._lock:
            if IN_ALL in self._totals and name != IN_ALL:
                return
            self._done += count
            now = time.monotonic()
            if now - self._last < INTERVAL:
                return
            self._last = now
            self._meter.sample(now, self._done)
            parts = [self._totals[IN_ALL]] if IN_ALL in self._totals else self._totals.values()
            total = sum(t or 0 for t in parts)
            left = self._meter.seconds_left(total)
        eta = f", {format_duration(left)} left" if left is not None else ""
        log.info(
            "%s: %s of %s at %s/s%s",
            self._what, format_size(self._done), format_size(total),
            format_size(self._meter.rate), eta,
        )  # fmt: skip

    def done(self, name: str) -> None: ...

    def finish(self) -> None:
        """The last line: bytes and time in all."""
        seconds = time.monotonic() - self._started
        log.info("%s: %s in %s", self._what, format_size(self._done), format_duration(seconds))


class _Bars:
    """A bar for each part that is under way."""

    def __init__(self) -> None:
        from rich import progress as rich
        from rich.console import Console

        self._bars = rich.Progress(
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.DownloadColumn(),
            rich.TransferSpeedColumn(),
            rich.TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._lock = threading.Lock()
        self._ids: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def task(self, name: str, total: int | None) -> None:
        from rich.markup import escape

        with self._lock:
            if name in self._ids:
                self._bars.update(self._ids[name], total=total)
            else:
                self._ids[name] = self._bars.add_task(escape(printable(name)), total=total)

    def advance(self, name: str, count: int) -> None:
        with self._lock:
            if name in self._ids:
                self._bars.advance(self._ids[name], count)

    def done(self, name: str) -> None:
        with self._lock:
            if name in self._ids:
                self._bars.update(self._ids[name], visible=len(self._ids) <= 16)
