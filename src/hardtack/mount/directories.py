"""The pages of a directory's listing; the next is made while the kernel takes in the last."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from hardtack.cache.api import Entry, Kind
from hardtack.mount import wire
from hardtack.mount.look import Look

_MOST_ENTRIES = 256
_TYPES = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.LINK: stat.S_IFLNK}
_GOOD_FOR = 0.3
"""Seconds for which a page that was made ahead may be given: less than the Notifier waits until it
names again what changed, so that the kernel hears of a change after any page of before it."""
_MOST_AHEAD = 8


class Tree(Protocol):
    """The part of a cache that listings ask."""

    def entry(self, id: int) -> Entry | None: ...
    def children(self, parent: int, after: int, limit: int) -> list[Entry]: ...


def known(tree: Tree, id: int) -> Entry:
    """Raises OSError ESTALE for an entry that is gone for good."""
    entry = tree.entry(id)
    if entry is None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return entry


class Asked(NamedTuple):
    """A READDIR or READDIRPLUS: go on in `directory` after the cookie, with room for so many bytes.

    Cookies: 0 at the start, 1 and 2 after `.` and `..`, else 2 + the entry's id (ids are never 0).
    """

    directory: int
    after: int
    room: int
    plus: bool


class _Page(NamedTuple):
    records: bytes
    last: int | None
    """The cookie to go on after; None where the directory ends."""


class Directories:
    """Answers listings, from any thread."""

    def __init__(
        self,
        tree: Tree,
        look: Look,
        *,
        entry_valid: int,
        attr_valid: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tree = tree
        self._look = look
        self._entry_valid = entry_valid
        self._attr_valid = attr_valid
        self._clock = clock
        self._lock = threading.Lock()
        self._ahead: dict[Asked, tuple[float, Future[_Page]]] = {}

    def answer(self, asked: Asked, reply: Callable[[bytes], object]) -> None:
        """Give a page to `reply`, then begin the next; OSError ESTALE where no directory is."""
        ahead = self._take(asked)
        page = self._page(asked) if ahead is None else ahead.result()
        reply(page.records)
        if page.last is not None:
            self._prepare(asked._replace(after=page.last))

    def _take(self, asked: Asked) -> Future[_Page] | None:
        with self._lock:
            begun, page = self._ahead.pop(asked, (0.0, None))
        return page if self._clock() - begun < _GOOD_FOR else None

    def _prepare(self, asked: Asked) -> None:
        page: Future[_Page] = Future()
        with self._lock:
            while len(self._ahead) >= _MOST_AHEAD:  # listings that were left off
                del self._ahead[next(iter(self._ahead))]
            self._ahead[asked] = self._clock(), page
        try:
            page.set_result(self._page(asked))
        except Exception as problem:  # noqa: BLE001 (raised where the page is asked for)
            page.set_exception(problem)

    def _page(self, asked: Asked) -> _Page:
        directory = known(self._tree, asked.directory)
        records: list[bytes] = []
        room, last = asked.room, asked.after
        for entry, name, cookie in self._listed(directory, asked):
            record = self._record(entry, name, cookie, asked.plus)
            room -= len(record)
            if room < 0:
                return _Page(b"".join(records), last if records else None)
            records.append(record)
            last = cookie
        return _Page(b"".join(records), None)

    def _listed(self, directory: Entry, asked: Asked) -> Iterator[tuple[Entry, str, int]]:
        """Entries with names and cookies, as many as may have room: older kernels ask for 4 KiB at
        a time, and what they don't get is read again."""
        if asked.after < 1:
            yield directory, ".", 1
        if asked.after < 2:
            yield self._tree.entry(directory.parent) or directory, "..", 2
        last = max(0, asked.after - 2)
        most = min(wire.most_dirents(asked.room, plus=asked.plus), _MOST_ENTRIES)
        while children := self._tree.children(directory.id, last, most):
            for child in children:
                yield child, child.name, child.id + 2
            last = children[-1].id

    def _record(self, entry: Entry, name: str, cookie: int, plus: bool) -> bytes:
        if plus and cookie > 2:
            attributes = self._look.attributes(entry)
            valid = self._entry_valid, self._attr_valid
            return wire.dirent_plus(attributes, cookie, name.encode(), *valid)
        make = wire.dirent_unlinked if plus else wire.dirent
        return make(entry.id, cookie, _TYPES[entry.kind], name.encode())
