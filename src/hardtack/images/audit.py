"""The proof that a box has what the lock names, offline."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hardtack.core.errors import BundleError, ContainerdError, HardtackError
from hardtack.images.bundle import blobs_of, bundles_in, contents, read_blob, verify
from hardtack.images.containerd import PINNED, Containerd, Record
from hardtack.images.lockfile import Lock, LockedImage, names
from hardtack.images.manifest import Descriptor, Index, Manifest, parse
from hardtack.images.platforms import Platform


class State(StrEnum):
    """How one name of an image stands, best first."""

    OK = "ok"
    UNPINNED = "not pinned"
    INCOMPLETE = "incomplete"
    OTHER = "another digest"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Row:
    """One name of one locked image: its state, and what was found where it isn't OK."""

    name: str
    digest: str
    state: State
    detail: str = ""


def audit(
    lock: Lock, platform: Platform, containerd: Containerd, *, deep: bool = False
) -> tuple[Row, ...]:
    """A row for each name of each image of `lock`, from containerd's own store.

    An image is OK when its record points at the locked digest, each of its blobs is there in full
    length, and it is pinned against garbage collection. `deep`: every byte is read, and each
    blob's digest checked. Raises ContainerdError, LockError.
    """
    containerd.version()
    return tuple(_Audit(containerd, platform, deep).rows(lock))


def audit_directory(lock: Lock, platform: Platform, directory: Path) -> tuple[Row, ...]:
    """As `audit`, for a box whose containerd doesn't run: what k3s would load from `directory`.
    Every bundle there is read and checked."""
    there: dict[str, set[str]] = {}
    damaged: list[str] = []
    for path in bundles_in(directory):
        try:
            for named in verify(path).names:
                there.setdefault(named.name, set()).add(named.digest)
        except BundleError as error:
            if _names(path) is not None:
                damaged.append(f"{error.message} Install it again.")
    rows = []
    for image in lock.images:
        digest = image.at(platform).digest
        for name in names(image, platform, lock):
            found = there.get(name)
            if found is None:
                detail = f"in no bundle of {directory}" + (f" ({damaged[0]})" if damaged else "")
                rows.append(Row(name, digest, State.MISSING, detail))
            elif found != {digest}:
                rows.append(Row(name, digest, State.OTHER, ", ".join(sorted(found - {digest}))))
            else:
                rows.append(Row(name, digest, State.OK))
    return tuple(rows)


def ids(
    lock: Lock, platform: Platform, containerd: Containerd | None, directory: Path
) -> dict[str, str]:
    """Image of `lock` → the id by which container runtimes know it, the digest of its
    configuration; of those that are in containerd's store or in a bundle in `directory`."""
    found: dict[str, str] = {}
    for image in lock.images:
        digest = image.at(platform).digest
        try:
            raw = b"".join(containerd.read(digest)) if containerd else b""
        except ContainerdError:
            raw = b""
        raw = raw or _in_bundles(directory, digest)
        if raw:
            found[image.reference.name] = blobs_of(raw, directory)[0]
    return found


def _in_bundles(directory: Path, digest: str) -> bytes:
    """The manifest with this digest; nothing where no bundle has it."""
    for path in bundles_in(directory):
        try:
            return read_blob(path, contents(path), digest)
        except BundleError:
            continue  # it has another's, or is none
    return b""


def _names(path: Path) -> tuple[str, ...] | None:
    """The names in a damaged bundle; None when it isn't one at all (k3s's own airgap tarball)."""
    try:
        return tuple(n.name for n in contents(path).names)
    except BundleError:
        return () if path.name.startswith("images-") else None


class _Audit:
    def __init__(self, containerd: Containerd, platform: Platform, deep: bool) -> None:
        self._containerd, self._platform, self._deep = containerd, platform, deep
        self._records = containerd.images()
        self._checked: dict[str, str] = {}

    def rows(self, lock: Lock) -> Iterable[Row]:
        for image in lock.images:
            for name in names(image, self._platform, lock):
                yield self._row(name, image)

    def _row(self, name: str, image: LockedImage) -> Row:
        digest = image.at(self._platform).digest
        record = self._records.get(name)
        if record is None:
            return Row(name, digest, State.MISSING, "containerd knows no such name")
        if record.digest not in (digest, image.digest):
            return Row(name, digest, State.OTHER, record.digest)
        if wrong := self._incomplete(record, digest):
            return Row(name, digest, State.INCOMPLETE, wrong)
        if record.labels.get(PINNED) != "pinned":
            return Row(name, digest, State.UNPINNED, "garbage collection may take it")
        return Row(name, digest, State.OK)

    def _incomplete(self, record: Record, digest: str) -> str:
        """The first blob that is missing or short; empty when all is there."""
        target = Descriptor(record.media_type, record.digest, record.size)
        if wrong := self._blob(target):
            return wrong
        try:
            top = self._parse(target)
            if isinstance(top, Index):
                entry = next((e for e in top.entries if e.digest == digest), None)
                if entry is None:
                    return f"its index lacks {digest}"
                if wrong := self._blob(entry):
                    return wrong
                top = self._parse(entry)
        except HardtackError as error:
            return error.message
        if not isinstance(top, Manifest):
            return f"{digest} is not a manifest"
        return next((wrong for b in top.blobs if not b.foreign and (wrong := self._blob(b))), "")

    def _parse(self, target: Descriptor) -> Manifest | Index:
        return parse(
            b"".join(self._containerd.read(target.digest)), target.media_type, target.digest
        )

    def _blob(self, blob: Descriptor) -> str:
        if blob.digest not in self._checked:
            wrong = self._containerd.complete(blob.digest, blob.size)
            if self._deep and not wrong:
                wrong = self._rotten(blob)
            self._checked[blob.digest] = f"{blob.digest}: {wrong}" if wrong else ""
        return self._checked[blob.digest]

    def _rotten(self, blob: Descriptor) -> str:
        running = hashlib.sha256()
        try:
            for piece in self._containerd.read(blob.digest):
                running.update(piece)
        except ContainerdError as error:
            return error.message
        found = f"sha256:{running.hexdigest()}"
        return "" if found == blob.digest else f"its bytes have the digest {found}"
