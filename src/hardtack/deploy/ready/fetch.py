"""Gets what a box lacks: weights through the cache's owner, images through bundles."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from hardtack.cache.results import Prefetched, Refresh, Release, Surveyed, Verified
from hardtack.core.errors import (
    BundleError,
    DiskFull,
    FileError,
    HardtackError,
    ModelError,
    SourceError,
)
from hardtack.core.progress import Progress
from hardtack.deploy.facts import unreadable
from hardtack.deploy.ready.check import Box, Images, Known, of_images, surveyed
from hardtack.deploy.ready.checks import Check, Part
from hardtack.deploy.ready.report import Report, State
from hardtack.deploy.ready.weights import globbed, needed
from hardtack.images.bundle import verify
from hardtack.images.containerd import Containerd, listens
from hardtack.images.install import install
from hardtack.images.lockfile import read_lock
from hardtack.images.pull import pull
from hardtack.images.registry import Registry
from hardtack.inference.package import FILE

RELEASE = "ready-"
"""Our releases are called by this and the time; the newest alone is kept."""
_ROUNDS = 3
_BUNDLES = ".hardtack-fetch"  # beside the images directory, on its file system


class Fetching(Known, Protocol):
    """What is asked of a cache besides."""

    def refresh(self) -> Refresh: ...
    def prefetch(
        self, patterns: tuple[str, ...], *, progress: Progress | None = None
    ) -> Prefetched: ...
    def verify(self, *, repair: bool, progress: Progress | None = None) -> Verified: ...
    def pin(self, name: str) -> Release: ...
    def unpin(self, name: str) -> None: ...
    def releases(self) -> list[Release]: ...


@dataclass(frozen=True)
class Fetched:
    """`bytes` came over the network in `seconds`; `problems`: why a part couldn't be had."""

    bytes: int
    seconds: float
    problems: Mapping[Part, HardtackError]

    @property
    def rate(self) -> float | None:
        """Bytes a second; None where too little came to tell."""
        return self.bytes / self.seconds if self.bytes > _ENOUGH and self.seconds > 0 else None


_ENOUGH = 100_000


def fetch(
    box: Box,
    cache: Callable[[], AbstractContextManager[Fetching]] | None,
    registry: Callable[[], AbstractContextManager[Registry]],
    progress: Progress,
) -> Fetched:
    """Get what `box` lacks. What fails doesn't keep the rest from being fetched."""
    started = time.monotonic()
    count = 0
    problems: dict[Part, HardtackError] = {}

    def get(part: Part, place: str, work: Callable[[], int]) -> None:
        nonlocal count
        try:
            count += work()
        except HardtackError as error:
            problems[part] = error
        except OSError as error:
            problems[part] = _refused(error, place)

    def get_weights() -> int:
        assert cache is not None
        with cache() as opened:
            return weights(box, opened, progress)

    if cache is not None and Part.WEIGHTS not in box.without:
        get(Part.WEIGHTS, "the cache", get_weights)
    if Part.IMAGES not in box.without:
        place = str(box.images.bundles)
        get(Part.IMAGES, place, lambda: images(box.images, registry, progress))
    return Fetched(count, time.monotonic() - started, problems)


def _refused(error: OSError, place: str) -> HardtackError:
    """What the system says of a file or a directory; `place` where it names none."""
    if error.filename is None:
        error.filename = place
    message, remedy = unreadable.said(error)
    if error.errno == errno.ENOSPC:
        return DiskFull(message, remedy="Free some space there.")
    return FileError(message, remedy=remedy)


def tried(report: Report, problems: Mapping[Part, HardtackError]) -> Report:
    """`report` after a fetch: in place of the advice to fetch, what kept it from that."""
    rows = [
        replace(row, remedy=f"It couldn't be fetched: {problems[row.part]}")
        if row.part in problems and "ready --fetch" in row.remedy
        else row
        for row in report.rows
    ]
    return replace(report, rows=tuple(rows))


def weights(box: Box, cache: Fetching, progress: Progress) -> int:
    """List the source, fetch what the detectors need, check it, and keep it in a release; the bytes
    that came over the network. Raises SourceError's and CacheError's kinds."""
    cache.refresh()
    count = _get(cache, _descriptions(box, cache), progress)
    for _ in range(_ROUNDS):  # a description that comes says which files it needs
        files = _needed(box, cache)
        missing = tuple(file.path for file in files if file.present < file.size)
        if not missing:
            break
        count += _get(cache, missing, progress)
    if any(not file.verified for file in files):
        cache.verify(repair=True, progress=progress)
    if any(not file.pinned for file in _needed(box, cache)):
        name = RELEASE + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        cache.pin(name)
        for release in cache.releases():
            if release.name.startswith(RELEASE) and release.name != name:
                cache.unpin(release.name)
    return count


def _get(cache: Fetching, paths: tuple[str, ...], progress: Progress) -> int:
    if not paths:
        return 0
    done = cache.prefetch(tuple(map(_literal, paths)), progress=progress)
    if done.failed:
        path, said = done.failed[0]
        raise SourceError(f"{path} can't be fetched: {said}", remedy="Try again later.")
    return done.fetched_bytes


def _descriptions(box: Box, cache: Fetching) -> tuple[str, ...]:
    """The models' descriptions that aren't here: the file of detectors may leave to them what a
    detector is."""
    below = f"{box.weights.models}/" if box.weights.models else ""
    return tuple(
        file.path
        for file in cache.survey([])
        if file.path.startswith(below)
        and file.path.endswith(f"/{FILE}")
        and file.present < file.size
    )


def _needed(box: Box, cache: Fetching) -> list[Surveyed]:
    listing, _, wanted = surveyed(box, cache)
    found = [file for glob in box.weights.also for file in globbed(listing, glob)]
    for identity in wanted:
        try:
            found += needed(listing, box.weights.models, identity)
        except ModelError:
            continue  # its row says so: nothing that the source doesn't have can be fetched
    return [file for file in {file.path: file for file in found}.values() if not file.broken]


def _literal(path: str) -> str:
    """A glob that matches this path alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def images(
    box: Images,
    registry: Callable[[], AbstractContextManager[Registry]],
    progress: Progress,
) -> int:
    """Pull the bundle of this box's platform, install it, and load it where containerd runs; the
    bytes that came over the network. With nothing missing no registry is asked."""
    wanting = (Check.IMAGES_HERE, Check.IMAGES_PINNED)
    if all(row.state is State.READY for row in of_images(box, None) if row.check in wanting):
        return 0
    bundles = box.bundles.resolve().parent / _BUNDLES
    with registry() as client:
        pulled = pull(read_lock(box.lock), bundles, client, [box.platform], progress=progress)
    for bundle in pulled.bundles:
        _drop_damaged(box.bundles / bundle.path.name)
    store = Containerd(box.socket) if box.socket is not None and listens(box.socket) else None
    try:
        install(bundles, box.bundles, platform=box.platform, containerd=store, progress=progress)
    finally:
        if store is not None:
            store.close()
    shutil.rmtree(bundles)
    return pulled.fetched


def _drop_damaged(bundle: Path) -> None:
    """An installed bundle whose bytes are wrong: by its name and size it would count as there."""
    if not bundle.exists():
        return
    try:
        verify(bundle)
    except BundleError:
        bundle.unlink()
