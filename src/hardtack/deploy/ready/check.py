"""Readiness of a box from its real parts. Nothing here asks the network."""

from __future__ import annotations

import errno
import os
import posixpath
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hardtack.core.errors import HardtackError, LockError
from hardtack.deploy.facts import k3s, pulls, staticpods, unreadable
from hardtack.deploy.facts import read as facts
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.facts.pulls import Pulls
from hardtack.deploy.ready import box as alone
from hardtack.deploy.ready import (
    certificates,
    detectors,
    entitled,
    images,
    k3s_images,
    weights,
)
from hardtack.deploy.ready.checks import Check, Part
from hardtack.deploy.ready.report import Report, Row, State
from hardtack.images.audit import Row as Audited
from hardtack.images.audit import State as Found
from hardtack.images.audit import audit, audit_directory, ids
from hardtack.images.containerd import Containerd, listens
from hardtack.images.lockfile import Lock, names, read_lock
from hardtack.images.platforms import Platform
from hardtack.manifests.files import MANIFESTS
from hardtack.manifests.place import Problem, Severity
from hardtack.manifests.scan import scan

if TYPE_CHECKING:
    from hardtack.cache.results import Surveyed


class Known(Protocol):
    """What is asked of a cache, ours or a running mount's."""

    def has_listing(self) -> bool: ...
    def survey(self, patterns: Sequence[str]) -> list[Surveyed]: ...
    def peek(self, path: str) -> str: ...


@dataclass(frozen=True)
class Images:
    """The lock, the deployment files, k3s's directory of bundles, containerd's socket (None: it
    doesn't run, the bundles are what it will have); values files set over those of charts."""

    lock: Path
    deployment: tuple[Path, ...]
    bundles: Path
    socket: Path | None
    platform: Platform
    values: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Weights:
    """How to open the cache; the directory of models in the source; globs of further files."""

    cache: Callable[[], AbstractContextManager[Known]] | None
    models: str = "models"
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Box:
    """All that is looked at. `horizon` in seconds; `without`: names of parts and checks that
    the person leaves out; `directories`: those that must have room; `root`: where the box's file
    system is; `rate`: bytes a second at which what is missing would come."""

    images: Images
    weights: Weights
    endpoint: detectors.Files
    tls: certificates.Tls
    horizon: float
    directories: tuple[Path, ...] = ()
    root: Path = Path("/")
    without: frozenset[str] = field(default_factory=frozenset)
    rate: float | None = None


def check(box: Box) -> Report:
    """How everything stands that `box` needs to come up with no network."""
    now = time.time()
    looks: tuple[tuple[Check, set[Part], Callable[[], Iterable[Row]]], ...] = (
        (Check.IMAGES_READ, {Part.IMAGES}, lambda: of_images(box.images, *_kubelet(box.root))),
        (Check.WEIGHTS_READ, {Part.WEIGHTS, Part.CONFIGURATION}, lambda: of_weights(box)),
        (
            Check.CERTIFICATES_READ,
            {Part.CERTIFICATES},
            lambda: certificates.rows(box.root, box.tls, now, box.horizon),
        ),
        (
            Check.BOX_READ,
            {Part.BOX},
            lambda: alone.rows(facts.read(box.root, box.directories)),
        ),
    )
    rows = [
        row
        for check, parts, look in looks
        if parts - box.without
        for row in _guarded(check, look)
        if row.part not in box.without and row.check not in box.without
    ]
    return Report(tuple(rows), now, box.rate)


def of_images(
    box: Images, k3s: K3s | None, noted: Pulls | None = None, pods: tuple[Path, ...] = ()
) -> list[Row]:
    """Rows of the images; `pods`: manifests that the kubelet starts by itself. Raises LockError,
    ContainerdError, ManifestError."""
    lock = read_lock(box.lock)
    if not lock.images:
        raise LockError(
            f"{box.lock} names no image.", remedy="Write it: hardtack images lock PATH…"
        )
    store, stored = _store(lock, box)
    whole = all(row.state is Found.OK for row in store) and store
    bundles = () if whole else audit_directory(lock, box.platform, box.bundles)
    rows = images.locked(lock, box.platform, store, bundles)
    if k3s is not None:
        rows += () if whole else k3s_images.imported_once(box.bundles)
        rows += k3s_images.started(k3s, box.bundles, images.proven(lock, box.platform) | stored)
    found = scan((*box.deployment, *pods), helm="auto", values=box.values)
    if k3s is not None and noted is not None:
        held = entitled.named(document.root for document in found.documents)
        rows += entitled.rows(k3s, noted, _known(lock, box, noted), held)
    rows += [_unread(problem) for problem in found.problems if problem.severity is Severity.ERROR]
    rows += [_misnamed(pod) for pod in pods if pod.suffix.lower() not in MANIFESTS]
    if not found.images:
        rows.append(_names_nothing(box.deployment))
    return rows + images.named(found.images, lock, box.platform)


def _kubelet(root: Path) -> tuple[K3s | None, Pulls | None, tuple[Path, ...]]:
    """k3s's configuration, what its kubelet has noted, and what that starts by itself. Raises
    ConfigError, OSError."""
    found = k3s.read(root)
    if found is None:
        return None, None, ()
    return found, pulls.read(root, found.kubelet), staticpods.files(root, found.kubelet)


def _known(lock: Lock, box: Images, noted: Pulls) -> list[entitled.Image]:
    """The images of the lock as the kubelet knows them; their ids only where it noted any."""
    known: dict[str, str] = {}
    if noted.pulled:
        with _opened(box) as client:
            known = ids(lock, box.platform, client, box.bundles)
    return [
        entitled.Image(name, names(image, box.platform, lock), known.get(name, ""))
        for image in lock.images
        for name in (image.reference.name,)
    ]


def _unread(problem: Problem) -> Row:
    """Whatever stands in it may name images: that they are here nobody proved."""
    closed = os.strerror(errno.EACCES) in problem.message
    remedy = "Run it as root." if closed else "Mend it, or take it out of what is deployed."
    name = str(problem.place)
    return Row(Check.IMAGES_READ, name, State.WRONG, problem.message, remedy=remedy)


def _misnamed(pod: Path) -> Row:
    """The kubelet takes every file there for a manifest; by its name nobody here does."""
    detail = "the kubelet starts the pod that it describes, and by its name it is no manifest"
    remedy = "Call it .yaml, or take it out of that directory: the kubelet reads a copy too."
    return Row(Check.IMAGES_READ, str(pod), State.WRONG, detail, remedy=remedy)


def _names_nothing(deployment: tuple[Path, ...]) -> Row:
    """With no manifest nothing says whether the lock has what will be started."""
    where = ", ".join(map(str, deployment))
    remedy = "Name the manifests or charts that are deployed: hardtack ready --deployment PATH."
    return Row(
        Check.IMAGES_READ, "deployment", State.MISSING, f"{where} names no image", remedy=remedy
    )


def _store(lock: Lock, box: Images) -> tuple[tuple[Audited, ...], frozenset[str]]:
    """What containerd's store has, and all names in it; nothing where it doesn't run: then the
    bundles must do."""
    with _opened(box) as client:
        if client is None:
            return (), frozenset()
        return audit(lock, box.platform, client), frozenset(client.images())


@contextmanager
def _opened(box: Images) -> Iterator[Containerd | None]:
    """containerd where it runs."""
    if box.socket is None or not listens(box.socket):
        yield None
        return
    client = Containerd(box.socket)
    try:
        yield client
    finally:
        client.close()


def of_weights(box: Box) -> list[Row]:
    """Rows of configuration, metadata and weights: what is needed follows from what is asked."""
    if box.weights.cache is None:
        detail = "no source of weights is named"
        remedy = "Name it: hardtack ready SOURCE, or leave them out: --without weights."
        row = Row(Check.WEIGHTS_SOURCE, "source", State.MISSING, detail, remedy=remedy)
    else:
        try:
            with box.weights.cache() as cache:
                if cache.has_listing():
                    return _of_cache(box, cache)
        except HardtackError as error:
            said, remedy = error.message, error.remedy
            row = Row(Check.WEIGHTS_READ, "cache", State.WRONG, said, remedy=remedy)
        else:
            detail = "nothing is known of the source: it was never listed"
            remedy = "Connect the box once: hardtack ready --fetch."
            row = Row(Check.WEIGHTS_LISTED, "catalogue", State.MISSING, detail, remedy=remedy)
    if box.weights.cache is not None and Part.WEIGHTS not in box.without:
        return [row]  # what more is amiss follows from it
    rows, _ = detectors.look(box.endpoint, None)
    return [*rows, row]


def _of_cache(box: Box, cache: Known) -> list[Row]:
    listing, rows, wanted = surveyed(box, cache)
    rows += [weights.detector(listing, box.weights.models, one) for one in wanted]
    return rows + [weights.pattern(listing, glob) for glob in box.weights.also]


def surveyed(box: Box, cache: Known) -> tuple[weights.Listing, list[Row], list[str]]:
    """The files of the source, rows of the configuration, and the detectors that answer here."""
    listing = weights.Listing(cache.survey([]), cache.peek)
    with _descriptions(listing, box.weights.models) as models:
        return (listing, *detectors.look(box.endpoint, models))


@contextmanager
def _descriptions(listing: weights.Listing, models: str) -> Iterator[Path]:
    """A directory with the descriptions of the models that are here, as a mount would show them:
    the file of detectors leaves to them what it doesn't say."""
    with tempfile.TemporaryDirectory(prefix="hardtack-ready-") as directory:
        for path in listing.files:
            relative = posixpath.relpath(path, models or ".")
            if posixpath.basename(path) != "model.toml" or relative.startswith("../"):
                continue
            try:
                text = listing.read(path)
            except HardtackError:
                continue  # its row says so
            target = Path(directory, relative)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        yield Path(directory)


def _guarded(check: Check, look: Callable[[], Iterable[Row]]) -> list[Row]:
    """The rows of `look`, or the one that says why there are none."""
    try:
        return list(look())
    except HardtackError as error:
        message, remedy = error.message, error.remedy or "Mend it, then look again."
    except OSError as error:
        message, remedy = unreadable.said(error)
    return [Row(check, _LOOKED_AT[check], State.WRONG, message, remedy=remedy)]


_LOOKED_AT = {
    Check.IMAGES_READ: "lock and store",
    Check.WEIGHTS_READ: "cache",
    Check.CERTIFICATES_READ: "certificates",
    Check.BOX_READ: "k3s",
}
"""What a look reads first: the name of the row that says that it can't be read."""
