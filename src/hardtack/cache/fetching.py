"""Prefetch: whole files into the cache, from their first holes on."""

from __future__ import annotations

import queue

from hardtack.cache.api import Entry, Kind
from hardtack.cache.content import ContentFile
from hardtack.cache.counters import Counters
from hardtack.cache.downloader import Downloader
from hardtack.cache.keys import info_of
from hardtack.cache.results import Prefetched, code_of_all
from hardtack.cache.selection import Selection
from hardtack.cache.store import Store
from hardtack.core.errors import CacheError, HardtackError, NotFound
from hardtack.core.progress import Progress

AT_ONCE = 8
"""Files that are fetched at the same time."""
_LISTED = "`hardtack ls SOURCE` lists them; `hardtack refresh SOURCE` sees what is new."
TICK = 0.2  # seconds between reports of progress


class _Flight:
    """One file that is being fetched."""

    def __init__(self, path: str, content: ContentFile, progress: Progress) -> None:
        self.path, self.content, self._progress = path, content, progress
        self._told = self._landed()  # rate and time left are those of what is yet to come
        progress.task(path, content.header.identity.size - self._told)

    def _landed(self) -> int:
        return self.content.bytes_of(self.content.sums)

    def tell(self) -> None:
        landed = self._landed()
        if landed > self._told:
            self._progress.advance(self.path, landed - self._told)
            self._told = landed


class _Prefetch:
    def __init__(self, store: Store, downloader: Downloader, progress: Progress) -> None:
        self._store, self._downloader, self._progress = store, downloader, progress
        self._landed: queue.Queue[tuple[str, HardtackError | None]] = queue.Queue()
        self._flights: dict[str, _Flight] = {}
        self.failed: dict[str, str] = {}
        self.codes: set[int] = set()

    def run(self, selection: Selection) -> None:
        for path, entry in selection.entries():
            if entry.kind is not Kind.FILE:
                continue
            while len(self._flights) >= AT_ONCE:
                self._wait()
            self._begin(path, entry)
        while self._flights:
            self._wait()

    def _begin(self, path: str, entry: Entry) -> None:
        try:
            content = self._store.content(entry)
        except HardtackError as error:
            self.fail(path, error)
            return
        if content.trusted:
            return
        for chunk in list(content.sums):
            content.ready(chunk)
        self._flights[path] = _Flight(path, content, self._progress)
        self._downloader.fetch(content, info_of(entry), lambda e: self._landed.put((path, e)))

    def _wait(self) -> None:
        try:
            path, error = self._landed.get(timeout=TICK)
        except queue.Empty:
            for flight in self._flights.values():
                flight.tell()
            return
        flight = self._flights.pop(path)
        flight.tell()
        self._progress.done(path)
        if error is not None:
            self.fail(path, error)

    def fail(self, path: str, error: HardtackError) -> None:
        self.failed[path] = str(error)
        self.codes.add(error.exit_code)


def prefetch(
    store: Store,
    downloader: Downloader,
    counters: Counters,
    selection: Selection,
    progress: Progress,
) -> Prefetched:
    """Fetch the holes of all selected files; a file that fails doesn't stop the others."""
    before = counters.fetched_bytes
    work = _Prefetch(store, downloader, progress)
    work.run(selection)
    store.flush()
    files = total = 0
    for path, entry in selection.entries():
        if entry.kind is Kind.FILE and path not in work.failed:
            if reason := _unsealed(store, entry):
                work.fail(path, reason)
            else:
                files, total = files + 1, total + entry.size
    for pattern in selection.unmatched():
        work.fail(pattern, NotFound("no file has this name.", remedy=_LISTED))
    fetched = counters.fetched_bytes - before
    return Prefetched(files, total, fetched, tuple(work.failed.items()), code_of_all(work.codes))


def _unsealed(store: Store, entry: Entry) -> HardtackError | None:
    """Why a file that was fetched isn't complete; None when it is."""
    try:
        content = store.content(entry)
    except HardtackError as error:
        return error
    if not content.complete and not content.bad:
        return store.refusal(content)  # it was written, and couldn't be made to last
    if content.trusted or store.sealer.seal(content).result() or content.complete:
        return None
    return CacheError(
        "its bytes were not those of its ETag, and are to be fetched anew.", remedy="Run it again."
    )
