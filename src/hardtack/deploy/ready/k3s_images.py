"""What k3s and its kubelet do about images besides what manifests say, at each start."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path

from hardtack.core.errors import HardtackError
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State
from hardtack.images import airgap
from hardtack.images.bundle import bundles_in
from hardtack.manifests import lists
from hardtack.manifests.reference import Reference

_CALLED = ("mirrored-pause", "pause")
"""What its repository is called, where nothing says which one k3s takes."""
_IMPORTED = ".cache.json"


def started(k3s: K3s, bundles: Path, known: frozenset[str]) -> list[Row]:
    """Rows of what k3s starts with and doesn't find: neither in `known`, the names that are locked
    or in containerd's store, nor in `bundles`, which are read only where something is missing."""

    def missing(here: frozenset[str]) -> list[Row]:
        return [*pause(k3s, here), *pulled_first(bundles, here)]

    rows = missing(known)
    return rows and missing(known.union(brought(bundles)))


def pause(k3s: K3s, here: Collection[str]) -> Iterator[Row]:
    """The row that says that the image is missing with which containerd holds each pod. `here`: the
    names that are locked, whose own rows prove them, or on the box."""
    wanted = Reference.parse(k3s.pause).name if k3s.pause else None
    if any(name == wanted if wanted else _called(name) for name in here):
        return
    yield Row(
        Check.IMAGES_PAUSE, wanted or "k3s's pause image", State.MISSING,
        "k3s holds each pod with it, and it is neither locked nor on the box",
        remedy="Lock what k3s needs too: hardtack images lock --k3s-images FILE; then fetch it.",
    )  # fmt: skip


def _called(name: str) -> bool:
    repository = name.partition("@")[0]
    return repository.rpartition("/")[2].partition(":")[0] in _CALLED


def brought(bundles: Path) -> Iterator[str]:
    """The names in k3s's own archives among the bundles."""
    for path in bundles_in(bundles):
        try:
            found = path.stat()
            yield from _names(path, found.st_size, found.st_mtime_ns)
        except (HardtackError, FileNotFoundError):
            continue  # it is none: k3s loads nothing from it either


@lru_cache(maxsize=64)
def _names(path: Path, _size: int, _changed: int) -> tuple[str, ...]:
    """Kept until the file changes: an archive is read from end to end, and a watch looks often."""
    return tuple(reference.name for reference in airgap.in_tarball(path))


def pulled_first(bundles: Path, here: Collection[str]) -> Iterator[Row]:
    """Rows of images that a list beside the bundles has k3s pull before it starts any pod."""
    for file in sorted(bundles.glob("*.txt")):
        for image in lists.images(file.read_text(errors="replace"), file):
            name = image.reference.name if image.reference else image.raw
            if name not in here:
                yield Row(
                    Check.IMAGES_LOCKED, name, State.MISSING,
                    f"{image.place} has k3s pull it when it starts, and it is neither locked nor "
                    "on the box", remedy="Take it out of that list, or lock and fetch it.",
                )  # fmt: skip


def imported_once(bundles: Path) -> Iterator[Row]:
    """The row that says that bundles are no proof of what containerd doesn't hold."""
    if (bundles / _IMPORTED).exists():
        yield Row(
            Check.IMAGES_HERE, _IMPORTED, State.WRONG,
            f"for {bundles / _IMPORTED} k3s loads no bundle twice: what containerd has lost stays "
            "lost", remedy="Remove that file: then k3s loads every bundle at each start.",
        )  # fmt: skip
