"""What a cache does by itself: refresh for ever, scrub slowly, keep the disk's free space."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

from hardtack.cache import leftout
from hardtack.cache.api import Options
from hardtack.cache.catalogue import Catalogue
from hardtack.cache.counters import Counters
from hardtack.cache.reachability import Reachability
from hardtack.cache.results import LeftOut
from hardtack.cache.store import Store
from hardtack.cache.verifying import Verifier
from hardtack.cache.view import View
from hardtack.core.backoff import Backoff, Pace, Stagger
from hardtack.core.errors import HardtackError
from hardtack.core.progress import Meter

log = logging.getLogger(__name__)

UPKEEP_SECONDS = 5.0
SCRUB_PAUSE = 3600.0
MAX_BACKOFF = 60.0
FLEET_BACKOFF = 180.0
"""Of a box that has a listing: when a bucket is there again, ten thousand of them come back."""


def backoff(interval: float, *, known: bool) -> Backoff:
    """How long a source that is away is left alone: no longer than one that is there, which is
    listed anew every `interval` seconds."""
    return Backoff(1.0, min(FLEET_BACKOFF if known else MAX_BACKOFF, max(1.0, interval)))


class Background:
    """The daemon threads of one cache."""

    def __init__(
        self,
        options: Options,
        catalogue: Catalogue,
        view: View,
        store: Store,
        verifier: Verifier,
        reachability: Reachability,
        counters: Counters,
    ) -> None:
        self._options, self._catalogue, self._view = options, catalogue, view
        self._store, self._verifier = store, verifier
        self._reachability, self._counters = reachability, counters
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._meter = Meter()
        self._left_out = LeftOut()
        self.last_error = ""

    def start(self) -> None:
        """Start the threads, once."""
        if self._threads:
            return
        for name, work in (
            ("refresh", self._refresh_for_ever),
            ("upkeep", self._upkeep),
            ("scrub", self._scrub),
        ):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop the threads; one that waits for the network is not waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def seconds_left(self, count: int) -> float | None:
        """Seconds that `count` bytes take at the present rate; None when nothing moves."""
        return count / self._meter.rate if self._meter.rate > 0 else None

    def _refresh_for_ever(self) -> None:
        delays = self._delays()
        stagger = Stagger(self._options.refresh_interval)
        pace = Pace(stagger)
        if self._view.known:
            self._tell_left_out()
            self._stop.wait(stagger.first())
        while not self._stop.is_set():
            wait = stagger.next()
            if self._options.follow == "latest" or not self._view.known:
                began = time.monotonic()
                if self._refresh():
                    wait = pace.wait(time.monotonic() - began)
                    delays = self._delays()
                else:
                    wait = 1.0 + next(delays)
            self._stop.wait(wait)

    def _delays(self) -> Iterator[float]:
        return backoff(self._options.refresh_interval, known=self._view.known).delays()

    def _refresh(self) -> bool:
        try:
            result = self._view.refresh()
        except HardtackError as error:
            self._tell(str(error))
            return False
        except Exception as error:
            log.exception("refreshing the listing failed")
            self.last_error = str(error)
            return False
        if self.last_error:
            log.info("%s can be listed again", self._store.source)
            self.last_error = ""
        if result.added or result.removed:
            log.info(
                "generation %d of %s: %d new, %d gone",
                result.generation, self._store.source, result.added, result.removed,
            )  # fmt: skip
        self._tell_left_out()
        return True

    def _tell_left_out(self) -> None:
        """What the mount doesn't show, at its start and whenever another listing changed it."""
        try:
            found = leftout.read(self._catalogue)
        except HardtackError as error:
            log.warning("what the last listing left out can't be told: %s", error)
            return
        if found != self._left_out:
            for said in leftout.in_words(found):
                log.warning("%s: %s", self._store.source, said)
        self._left_out = found

    def _tell(self, error: str) -> None:
        if error != self.last_error and not self._stop.is_set():
            log.warning("the listing of %s stays as it was: %s", self._store.source, error)
        self.last_error = error

    def _upkeep(self) -> None:
        while not self._stop.wait(UPKEEP_SECONDS):
            self._meter.sample(time.monotonic(), self._counters.fetched_bytes)
            try:
                self._store.index.flush()
                need = self._store.shortage(0)
                if need > 0:
                    self._store.make_room(need)
            except HardtackError as error:
                log.warning("upkeep of the cache: %s", error)
            except OSError as error:
                log.warning("upkeep of %s: %s", self._store.directory, error.strerror)

    def _scrub(self) -> None:
        rate = self._options.scrub_rate
        while rate > 0 and not self._stop.wait(SCRUB_PAUSE / 60):
            try:
                self._scrub_all(rate)
            except HardtackError as error:
                log.warning("scrub: %s", error)
            self._stop.wait(SCRUB_PAUSE)

    def _scrub_all(self, rate: int) -> None:
        pace = _Pace(rate, self._stop)
        for row in list(self._store.index.oldest_first()):
            if self._stop.is_set():
                return
            found = self._verifier.scrub(row, pace)
            if any(found) and self._reachability.error is None and not self._stop.is_set():
                self._verifier.refetch(row)


class _Pace:
    """Told how many bytes were read; waits so that they are at most `rate` a second."""

    def __init__(self, rate: int, stop: threading.Event) -> None:
        self._rate, self._stop = rate, stop
        self._start, self._count = time.monotonic(), 0

    def __call__(self, count: int) -> None:
        self._count += count
        self._stop.wait(max(0.0, self._start + self._count / self._rate - time.monotonic()))
