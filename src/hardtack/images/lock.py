"""From what a deployment names to digests: making `images.lock`, and comparing it, offline."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from hardtack.core.errors import CorruptReply, NotFound, RegistryError
from hardtack.images.lockfile import Lock, LockedImage, LockedPlatform
from hardtack.images.manifest import Descriptor, Index, Manifest, sha256
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry
from hardtack.manifests.model import Kind, Scan
from hardtack.manifests.reference import Reference

_WORKERS = 8
_MAX_CONFIG = 16 << 20

Wanted: TypeAlias = Mapping[Reference, tuple[str, ...]]


class Update(StrEnum):
    """Which tags may move to what the registry now says."""

    NOTHING = "nothing"
    ALL = "all"


def wanted(scan: Scan, root: Path) -> dict[Reference, tuple[str, ...]]:
    """The images that a box needs to run what was scanned, each with who names it.

    Base images of Dockerfiles are left out: they are needed where images are built. Files are
    named relative to `root`; no line numbers, which would change the lock with every edit.
    """
    found: dict[Reference, set[str]] = {}
    for image in scan.images:
        if image.reference is not None and image.kind is not Kind.DOCKERFILE:
            file = os.path.relpath(image.place.file, root)
            where = f"{file} › {image.path}" if image.path else file
            where = where.encode(errors="backslashreplace").decode()  # a name need be no Unicode
            found.setdefault(image.reference, set()).add(where)
    return {reference: tuple(sorted(places)) for reference, places in found.items()}


def add(wanted: dict[Reference, tuple[str, ...]], images: Iterable[Reference], who: str) -> None:
    """`who` needs these `images` too."""
    for reference in images:
        wanted[reference] = tuple(sorted({*wanted.get(reference, ()), who}))


def lock(
    images: Wanted,
    platforms: Sequence[Platform],
    registry: Registry,
    existing: Lock | None = None,
    update: Update | Iterable[Reference] = Update.NOTHING,
) -> Lock:
    """Resolve `images` for `platforms`. What `existing` has stays as it is, unless named in
    `update`; only what is new, moved, or lacks a platform is asked of a registry.

    Raises NotFound, AccessDenied, SourceUnreachable, CorruptReply, RegistryError.
    """
    moving = (
        set(images) if update is Update.ALL else set() if update is Update.NOTHING else set(update)
    )

    def one(reference: Reference) -> LockedImage:
        old = (
            existing.image(reference) if existing is not None and reference not in moving else None
        )
        return _lock_one(reference, images[reference], platforms, registry, old)

    with ThreadPoolExecutor(_WORKERS, "lock") as pool:
        locked = list(pool.map(one, sorted(images, key=lambda r: r.name)))
    return Lock(tuple(sorted({str(p) for p in platforms})), tuple(locked))


def _lock_one(
    reference: Reference,
    found: tuple[str, ...],
    platforms: Sequence[Platform],
    registry: Registry,
    old: LockedImage | None,
) -> LockedImage:
    wanted_platforms = {str(p) for p in platforms}
    if old is not None and wanted_platforms <= old.platforms.keys():
        return old._replace(
            found=found, platforms={p: old.platforms[p] for p in sorted(wanted_platforms)}
        )
    name = reference.full_repository
    asked = old.digest if old is not None else reference.digest or reference.tag or "latest"
    top = registry.manifest(name, asked)
    locked = {}
    for platform in platforms:
        manifest = _choose(registry, name, top, platform, reference)
        locked[str(platform)] = LockedPlatform(manifest.descriptor.digest, manifest.size)
    return LockedImage(reference, top.descriptor.digest, locked, found)


def _choose(
    registry: Registry, name: str, top: Manifest | Index, platform: Platform, reference: Reference
) -> Manifest:
    if isinstance(top, Index):
        manifest = registry.manifest(name, top.choose(platform, str(reference)).digest)
        if isinstance(manifest, Index):
            raise RegistryError(f"{reference}: its index points at another index for {platform}.")
        return manifest
    built_for = _platform_of(registry, name, top.config)
    if built_for not in platform.accepts():
        raise NotFound(
            f"{reference} is built for {built_for} only, not for {platform}.",
            remedy="Choose an image that is built for it.",
        )
    return top


def _platform_of(registry: Registry, name: str, config: Descriptor) -> Platform:
    if config.size > _MAX_CONFIG:
        raise CorruptReply(f"{name}: its configuration claims {config.size} bytes.")
    raw = b"".join(map(bytes, registry.blob(name, config.digest, 0, config.size)))
    if sha256(raw) != config.digest:
        raise CorruptReply(
            f"{name}: the registry's configuration has digest {sha256(raw)}; "
            f"expected {config.digest}."
        )
    try:
        document = json.loads(raw)
        return Platform.of(
            str(document["os"]), str(document["architecture"]), str(document.get("variant", ""))
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"{name} is not an image: its configuration names no platform."
        ) from error


class Step(StrEnum):
    """In what way a lock and a deployment are out of step."""

    NOT_LOCKED = "not locked"
    NOT_USED = "not used"
    NO_PLATFORM = "platform not locked"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which `images.lock` and the manifests disagree."""

    step: Step
    image: Reference
    detail: str

    def __str__(self) -> str:
        return f"{self.image}: {self.step}: {self.detail}"


def check(
    locked: Lock, images: Wanted, platforms: Sequence[Platform] = ()
) -> tuple[Difference, ...]:
    """What keeps `locked` from being the lock of `images` (for `platforms`; default: the lock's
    own). Touches no network."""
    required = {str(p) for p in platforms} or set(locked.platforms)
    found = []
    for reference, places in images.items():
        entry = locked.image(reference)
        if entry is None:
            others = [
                str(i.reference)
                for i in locked.images
                if i.reference.full_repository == reference.full_repository
            ]
            beside = f"; the lock has {', '.join(others)}" if others else ""
            found.append(
                Difference(Step.NOT_LOCKED, reference, f"named by {', '.join(places)}{beside}")
            )
        elif missing := sorted(required - entry.platforms.keys()):
            found.append(Difference(Step.NO_PLATFORM, reference, ", ".join(missing)))
    for entry in locked.images:
        if entry.reference not in images:
            found.append(Difference(Step.NOT_USED, entry.reference, "in the lock, in no manifest"))
    return tuple(sorted(found, key=lambda d: (d.image.name, d.step)))
