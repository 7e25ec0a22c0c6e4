"""Fetching many blobs, each once, into one or more files; over ranges, in parallel, checked."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hardtack.core.errors import CorruptReply
from hardtack.core.pool import Pool
from hardtack.core.progress import IN_ALL, Progress
from hardtack.images.attempts import Stop
from hardtack.images.partial import Follower, Partial
from hardtack.images.registry import Registry

PART = 64 << 20  # a bigger blob is fetched as several ranges at a time


class Place(NamedTuple):
    """Where a blob goes: its first byte at `offset` of a partial file."""

    partial: Partial
    offset: int


class Job:
    """One blob: where to get it (`name`: a repository that has it), where it goes, and what to call
    it in progress."""

    def __init__(self, digest: str, size: int, name: str) -> None:
        self.digest, self.size, self.name = digest, size, name
        self.places: list[Place] = []
        self.labels: list[str] = []

    @property
    def missing(self) -> int:
        """Bytes to write."""
        return sum(
            b - a for p in self.places for a, b in p.partial.missing(p.offset, p.offset + self.size)
        )


class _Stopped(Exception):
    """Another blob has failed: this one needn't go on."""


def fetch(
    jobs: Sequence[Job],
    sources: Mapping[str, tuple[int, int]],
    registry: Registry,
    workers: int,
    progress: Progress,
) -> int:
    """Fill the places of all `jobs`; the bytes that came over the network.

    `sources`: blobs that are on disk, digest → (open file, offset); they are checked too.
    Raises what `Registry.blob` raises, CorruptReply for a wrong digest, DiskFull.
    """
    run = _Run(registry, progress)
    _announce(jobs, progress)
    with Pool[None](workers, "pull") as pool:
        try:
            for job in sorted(jobs, key=lambda j: -j.size):
                for part in run.parts(job, sources):
                    pool.submit(run.part, *part)
            while pool.under_way:
                pool.ended()
        finally:
            run.stop.set()
    for label in {label for job in jobs for label in job.labels} | {IN_ALL}:
        progress.done(label)
    return run.fetched


def _announce(jobs: Sequence[Job], progress: Progress) -> None:
    totals: dict[str, int] = {IN_ALL: 0}
    for job in jobs:
        totals[IN_ALL] += job.size
        for label in job.labels:
            totals[label] = totals.get(label, 0) + job.size
    for label, total in totals.items():
        progress.task(label, total)


class _Blob:
    """A job under way: how many ranges are still to come, and the running digest."""

    def __init__(
        self, job: Job, left: int, source: tuple[int, int] | None, *, resumed: bool
    ) -> None:
        self.job, self.left, self.source, self.resumed = job, left, source, resumed
        self.place = job.places[0]
        self.begin()

    def begin(self) -> None:
        """The digest starts anew."""
        self.follower = Follower(self.place.partial, self.place.offset, self.job.size)


class _Run:
    def __init__(self, registry: Registry, progress: Progress) -> None:
        self._registry, self._progress = registry, progress
        self._lock = threading.Lock()
        self.stop = Stop()
        self.fetched = 0

    def parts(
        self, job: Job, sources: Mapping[str, tuple[int, int]]
    ) -> list[tuple[_Blob, int, int]]:
        """What is missing of the blob, as ranges [start, stop) within it; at least one, so that a
        blob that is all there is checked as well."""
        place = job.places[0]
        holes = [
            (a - place.offset, b - place.offset)
            for a, b in place.partial.missing(place.offset, place.offset + job.size)
        ]
        there = job.size - sum(b - a for a, b in holes)
        self._advance(job, there)
        cut = [(s, min(s + PART, b)) for a, b in holes for s in range(a, b, PART)] or [
            (job.size, job.size)
        ]
        blob = _Blob(job, len(cut), sources.get(job.digest), resumed=there > 0)
        return [(blob, a, b) for a, b in cut]

    def part(self, blob: _Blob, start: int, stop: int) -> None:
        """Bring [start, stop) of the blob; whoever brings the last part checks and copies it."""
        self._bring(blob, start, stop)
        with self._lock:
            blob.left -= 1
            last = blob.left == 0
        if last:
            self._check(blob)
            self._copy(blob)

    def _bring(self, blob: _Blob, start: int, stop: int) -> None:
        job, place = blob.job, blob.place
        if blob.source is not None:
            fd, offset = blob.source
            place.partial.copy(fd, offset + start, place.offset + start, stop - start)
            blob.follower.follow()
            self._advance(job, stop - start)
            return
        position = start
        if start == stop:
            return
        for chunk in self._registry.blob(job.name, job.digest, start, stop, self.stop):
            place.partial.write(place.offset + position, chunk)
            position += len(chunk)
            with self._lock:
                self.fetched += len(chunk)
            self._advance(job, len(chunk))
            blob.follower.follow(place.offset + position - len(chunk), chunk)
            if self.stop.is_set():
                raise _Stopped

    def _check(self, blob: _Blob) -> None:
        """Raises CorruptReply when what came from the registry has another digest; what was on disk
        before is fetched once more."""
        job, place = blob.job, blob.place
        found = blob.follower.digest()
        if found == job.digest:
            return
        place.partial.forget(place.offset, place.offset + job.size)
        if blob.source is None and not blob.resumed:
            raise CorruptReply(
                f"{job.name}@{job.digest}: the registry sent bytes whose digest is {found}.",
                remedy="The registry's copy is damaged, or something on the way changes it.",
            )
        blob.source, blob.resumed = None, False
        blob.begin()
        self._advance(job, -job.size)
        self._bring(blob, 0, job.size)
        self._check(blob)

    def _copy(self, blob: _Blob) -> None:
        first = blob.place
        for place in blob.job.places[1:]:
            if place.partial.missing(place.offset, place.offset + blob.job.size):
                place.partial.copy(first.partial.fd, first.offset, place.offset, blob.job.size)

    def _advance(self, job: Job, count: int) -> None:
        for label in (*job.labels, IN_ALL):
            self._progress.advance(label, count)
