"""Is the image on this box with which containerd holds each pod? No manifest names it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hardtack.core.errors import HardtackError
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State
from hardtack.images import airgap
from hardtack.images.bundle import bundles_in
from hardtack.manifests.reference import Reference

_CALLED = ("mirrored-pause", "pause")
"""What its repository is called, where nothing says which one k3s takes."""


def row(k3s: K3s | None, locked: Iterable[str], store: Iterable[str], bundles: Path) -> list[Row]:
    """The row that says that it is missing: neither among the names that are `locked`, whose own
    rows prove them, nor in containerd's store, nor in an archive that k3s brings along."""
    if k3s is None:
        return []
    wanted = Reference.parse(k3s.pause).name if k3s.pause else None
    for names in (locked, store, _brought(bundles)):
        if any(name == wanted if wanted else _called(name) for name in names):
            return []
    detail = "k3s holds each pod with it, and it is neither locked nor on the box"
    remedy = "Lock what k3s needs too: hardtack images lock --k3s-images FILE; then fetch it."
    name = wanted or "k3s's pause image"
    return [Row(Check.IMAGES_PAUSE, name, State.MISSING, detail, remedy=remedy)]


def _called(name: str) -> bool:
    repository = name.partition("@")[0]
    return repository.rpartition("/")[2].partition(":")[0] in _CALLED


def _brought(bundles: Path) -> Iterator[str]:
    """The names in k3s's own archives among the bundles."""
    for path in bundles_in(bundles):
        try:
            yield from (reference.name for reference in airgap.in_tarball(path))
        except HardtackError:
            continue  # it is none: k3s loads nothing from it either
