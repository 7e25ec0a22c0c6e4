"""From a lock to bundles: blobs stream from registries to their place in the bundle's file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hardtack.core.errors import BundleError, LockError, RegistryError
from hardtack.core.files import fsync_directory, make_directory
from hardtack.core.progress import Progress, Quiet
from hardtack.images import notes
from hardtack.images.exclusive import exclusive
from hardtack.images.fetch import Job, Place, fetch
from hardtack.images.layout import BundleImage, Layout, bundle_name, plan
from hardtack.images.lockfile import Lock, LockedImage, names
from hardtack.images.manifest import Manifest, parse, sha256
from hardtack.images.partial import Partial, check_space, full
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry

log = logging.getLogger(__name__)

WORK = ".hardtack-pull"


class Bundle(NamedTuple):
    """One bundle: its file, its platform, the images in it."""

    path: Path
    platform: Platform
    images: tuple[LockedImage, ...]


class Pulled(NamedTuple):
    """What a pull did. `fetched`: bytes of blobs that came over the network; `foreign`: layers that
    registries don't hand out, `image: url`, which no bundle holds."""

    bundles: tuple[Bundle, ...]
    fetched: int = 0
    written: tuple[Path, ...] = ()
    removed: tuple[Path, ...] = ()
    foreign: tuple[str, ...] = ()


def bundles_of(
    lock: Lock,
    out: Path,
    platforms: Sequence[Platform] = (),
    *,
    split: bool = False,
    zstd: bool = False,
) -> tuple[Bundle, ...]:
    """The bundles that `lock` asks for, each with the file that it belongs in. Touches nothing.

    Raises LockError when an image isn't locked for one of `platforms` (default: the lock's).
    """
    suffix = ".tar.zst" if zstd else ".tar"
    found = []
    for platform in platforms or [Platform.parse(p) for p in lock.platforms]:
        groups = [(_stem(i), (i,)) for i in lock.images] if split else [("images", lock.images)]
        for stem, images in groups:
            inside = [(names(i, platform, lock), i.at(platform).digest) for i in images]
            found.append(
                Bundle(out / bundle_name(stem, platform, inside, suffix), platform, tuple(images))
            )
    return tuple(found)


def pull(
    lock: Lock,
    out: Path,
    registry: Registry,
    platforms: Sequence[Platform] = (),
    *,
    split: bool = False,
    zstd: bool = False,
    workers: int = 4,
    progress: Progress | None = None,
) -> Pulled:
    """Make the bundles of `lock` in the directory `out`; those that are there stay untouched, and
    with nothing to do no registry is asked. An interrupted pull goes on where it stopped.

    Bundles that an earlier pull made for the same platforms and that `lock` no longer asks for
    are removed. Raises what `Registry.manifest` does, BundleError when another pull works in
    `out`, DiskFull, LockError.
    """
    bundles = bundles_of(lock, out, platforms, split=split, zstd=zstd)
    if not bundles or not lock.images:
        raise BundleError(
            "The lock names no image.", remedy="Write it with `hardtack images lock`."
        )
    make_directory(out)
    work = out / WORK
    work.mkdir(exist_ok=True)
    with exclusive(
        work, f"Another pull is at work in {out}.", "Wait for it, or use another --out."
    ):
        todo = [b for b in bundles if not _sound(b, work)]
        fetched = 0
        foreign: tuple[str, ...] = ()
        if todo:
            fetched, foreign = _Pull(lock, out, registry, workers, progress or Quiet()).run(
                todo, zstd
            )
        removed = _forget_superseded(out, bundles)
        _clear(work)
    return Pulled(bundles, fetched, tuple(b.path for b in todo), removed, foreign)


class _Pull:
    def __init__(
        self, lock: Lock, out: Path, registry: Registry, workers: int, progress: Progress
    ) -> None:
        self._lock, self._out, self._registry = lock, out, registry
        self._workers, self._progress = workers, progress
        self._work = out / WORK

    def run(self, todo: Sequence[Bundle], zstd: bool) -> tuple[int, tuple[str, ...]]:
        inside = {b.path: [self._image(i, b.platform) for i in b.images] for b in todo}
        # Noted before they are there: whatever is found under these names later is ours. And before
        # the bytes come: a note is on the disk at once while nothing else waits to be written.
        new = {b.path.name: notes.Note(str(b.platform), notes.boot()) for b in todo}
        notes.write(self._work, notes.read(self._work) | new)
        layouts = {b.path: plan(inside[b.path], b.platform) for b in todo}
        with contextlib.ExitStack() as files:
            partials = {}
            for bundle in todo:
                layout = layouts[bundle.path]
                partial = Partial(self._work / bundle.path.name.removesuffix(".zst"), layout.size)
                partials[bundle.path] = partial
                files.callback(partial.close)
                _write_known(partial, layout)
            jobs = self._jobs(todo, inside, layouts, partials)
            check_space(self._out, sum(j.missing for j in jobs) * (2 if zstd else 1))
            sources = self._sources(files)
            fetched = fetch(jobs, sources, self._registry, self._workers, self._progress)
        for bundle in todo:
            self._publish(bundle, partials[bundle.path], zstd)
        if zstd:
            sized = {b.path.name: new[b.path.name]._replace(size=b.path.stat().st_size)
                     for b in todo}  # fmt: skip
            notes.write(self._work, notes.read(self._work) | sized)
        foreign = sorted(
            {
                f"{b.names[0]}: {u}"
                for found in inside.values()
                for b in found
                for layer in b.manifest.layers
                if layer.foreign
                for u in layer.urls or (layer.digest,)
            }
        )
        for line in foreign:
            log.warning("%s: a foreign layer, which the bundle can't hold", line)
        return fetched, tuple(foreign)

    def _image(self, image: LockedImage, platform: Platform) -> BundleImage:
        every = names(image, platform, self._lock)
        tags = tuple(n for n in every if "@" not in n)
        there = image.at(platform)
        manifest = self._manifest(image.reference.full_repository, there.digest)
        if manifest.size != there.size:
            raise LockError(
                f"{image.reference} for {platform} has {manifest.size} bytes by its manifest "
                f"({there.digest}), and {there.size} by the lock, which was edited.",
                remedy=f"Lock it anew: hardtack images lock PATH… --update {image.reference}",
            )
        return BundleImage(every, tags, manifest)

    def _manifest(self, name: str, digest: str) -> Manifest:
        """The manifest, from an earlier attempt's copy or the registry."""
        copy = self._work / f"{digest.removeprefix('sha256:')}.manifest"
        if copy.exists() and sha256(raw := copy.read_bytes()) == digest:
            manifest = parse(raw, json.loads(raw).get("mediaType", ""), name)
        else:
            manifest = self._registry.manifest(name, digest)
            if json.loads(manifest.raw).get("mediaType"):
                _keep(copy, manifest.raw)
        if not isinstance(manifest, Manifest):
            raise RegistryError(
                f"{name}@{digest} is an index; the lock says it is a manifest.",
                remedy="Lock it anew with --update.",
            )
        return manifest

    def _jobs(
        self,
        todo: Sequence[Bundle],
        inside: dict[Path, list[BundleImage]],
        layouts: dict[Path, Layout],
        partials: dict[Path, Partial],
    ) -> list[Job]:
        """One job for each blob, with every place it goes to."""
        jobs: dict[str, Job] = {}
        for bundle in todo:
            blobs = layouts[bundle.path].blobs()
            for locked, image in zip(bundle.images, inside[bundle.path], strict=True):
                label = f"{locked.reference} {bundle.platform}"
                for blob in image.manifest.blobs:
                    if blob.digest not in blobs:
                        continue
                    job = jobs.setdefault(
                        blob.digest, Job(blob.digest, blob.size, locked.reference.full_repository)
                    )
                    member = blobs[blob.digest]
                    if member.size != blob.size:
                        raise RegistryError(
                            f"{locked.reference}: manifests disagree on the size of {blob.digest}."
                        )
                    place = Place(partials[bundle.path], member.offset)
                    if place not in job.places:
                        job.places.append(place)
                    if label not in job.labels:
                        job.labels.append(label)
        return list(jobs.values())

    def _sources(self, files: contextlib.ExitStack) -> dict[str, tuple[int, int]]:
        """Blobs in the bundles that are there already: digest → (open file, offset)."""
        found: dict[str, tuple[int, int]] = {}
        for path in sorted(self._out.glob("*.tar")):
            from hardtack.images.bundle import contents  # late: a first pull reads no bundle

            try:
                members = contents(path).blobs
            except BundleError as error:
                log.warning("%s", error)
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            files.callback(os.close, fd)
            found |= {digest: (fd, member.offset) for digest, member in members.items()}
        return found

    def _publish(self, bundle: Bundle, partial: Partial, zstd: bool) -> None:
        if zstd:
            from hardtack.images.bundle import compress

            compressed = self._work / bundle.path.name
            try:
                compress(partial.path, compressed)
            except OSError as error:
                raise full(bundle.path, error) from error
            os.rename(compressed, bundle.path)
            partial.remove()
        else:
            partial.publish(bundle.path)
        fsync_directory(self._out)


def _keep(copy: Path, raw: bytes) -> None:
    """Write a copy that counts only while its digest is right: what a kill or a power cut leaves of
    it is fetched anew, so that nobody waits for the disk. Raises DiskFull."""
    try:
        copy.write_bytes(raw)
    except OSError as error:
        raise full(copy, error) from error


def _write_known(partial: Partial, layout: Layout) -> None:
    for member in layout.members:
        partial.write(member.offset - len(member.header), member.header)
        if member.content is not None:
            partial.write(member.offset, member.content)


def _sound(bundle: Bundle, work: Path) -> bool:
    """Whether the bundle is there as it was written; it is removed if not. One that a power cut may
    have spoilt is read and checked, of others only that nothing is missing."""
    if not bundle.path.exists():
        return False
    from hardtack.images.bundle import contents, verify

    known = notes.read(work)
    note = known.get(bundle.path.name, notes.Note(str(bundle.platform), ""))
    size = bundle.path.stat().st_size
    # To find the end of a compressed one it would all be unpacked: its size tells if it's whole.
    packed = bundle.path.suffix == ".zst"
    if note.settled and packed and note.size == size:
        return True
    try:
        (contents if note.settled and not packed else verify)(bundle.path)
    except BundleError as error:
        log.warning("%s It is pulled again.", error.message)
        bundle.path.unlink()
        return False
    if note.settled and not packed:
        return True
    boot = note.boot
    if not note.settled:  # only what lay there through a restart was read from the disk just now
        boot = None if note.boot else notes.boot()
    notes.write(work, known | {bundle.path.name: note._replace(boot=boot, size=size)})
    return True


def _forget_superseded(out: Path, bundles: Sequence[Bundle]) -> tuple[Path, ...]:
    """Remove bundles that a pull made for these platforms and that aren't asked for any more."""
    known = notes.read(out / WORK)
    platforms = {str(b.platform) for b in bundles}
    current = {b.path.name for b in bundles}
    old = [n for n, note in known.items() if note.platform in platforms and n not in current]
    if not old:
        return ()
    removed = []
    for name in old:
        path = out / Path(name).name
        if path.exists():
            path.unlink()
            removed.append(path)
    notes.write(out / WORK, {n: note for n, note in known.items() if n not in old})
    return tuple(removed)


def _clear(work: Path) -> None:
    """Remove what only an unfinished pull needs."""
    for path in work.iterdir():
        if path.name not in ("lock", notes.NAME) and path.is_file():
            path.unlink()


def _stem(image: LockedImage) -> str:
    reference = image.reference
    text = f"{reference.repository.replace('/', '-')}"
    return f"{text}-{reference.tag}" if reference.tag else text
