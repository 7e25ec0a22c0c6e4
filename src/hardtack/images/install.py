"""Bundles into k3s's images directory: the old set or the new one is there at any moment, whole."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hardtack.core.errors import BundleError, ConfigError
from hardtack.core.files import fsync_directory, make_directory, write_atomically
from hardtack.core.progress import Progress, Quiet
from hardtack.images.bundle import bundles_in, contents, verify
from hardtack.images.exclusive import exclusive
from hardtack.images.k3s import K3S_IMAGES, restart_needed
from hardtack.images.lockfile import Lock, names
from hardtack.images.partial import NO_KERNEL_COPY, check_space, full
from hardtack.images.platforms import Platform

if TYPE_CHECKING:
    from hardtack.images.containerd import Containerd

log = logging.getLogger(__name__)

STAGING = ".hardtack-images"  # beside the images directory: k3s looks at all that is in it
_WATCHED_BY_K3S = f"{os.sep}agent{os.sep}images"
_STEP = 8 << 20


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did. `restart`: whether k3s must be restarted to load the new files
    (None: can't tell), and `reason` why."""

    files: tuple[Path, ...]
    added: tuple[Path, ...]
    removed: tuple[Path, ...]
    imported: tuple[str, ...]
    restart: bool | None
    reason: str


def install(
    source: Path,
    to: Path = K3S_IMAGES,
    *,
    platform: Platform | None = None,
    k3s_version: str | None = None,
    containerd: Containerd | None = None,
    progress: Progress | None = None,
) -> Installed:
    """Put the bundles in the directory `source` that run on `platform` (default: this machine's)
    into `to`, and load them into `containerd` if there is one.

    Bundles that an earlier installation put there and that `source` no longer has are removed
    after the new ones are in place; files of others are never touched. Raises BundleError,
    DiskFull, ContainerdError, ConfigError.
    """
    bundles = _bundles(source, platform or Platform.here())
    with _staging(to) as staging:
        added = _stage_and_move(bundles, to, staging, progress or Quiet())
        removed = _remove(to, staging, keep={b.name for b in bundles})
    files = tuple(to / b.name for b in bundles)
    if containerd is not None:
        from hardtack.images.load import load  # late: it needs gRPC

        imported = tuple(name for file in files for name in load(file, containerd, progress))
        return Installed(
            files, added, removed, imported, False, "the images are loaded into containerd already"
        )
    restart, reason = restart_needed(k3s_version) if added else (False, "nothing new was installed")
    return Installed(files, added, removed, (), restart, reason)


def pending(
    source: Path, to: Path = K3S_IMAGES, *, platform: Platform | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What `install` would add to `to` and remove from it, by name; nothing is touched. Raises
    BundleError."""
    bundles = _bundles(source, platform or Platform.here())
    ours = _installed(to.resolve().parent / STAGING)
    old = sorted(n for n in ours - {b.name for b in bundles} if (to / n).exists())
    return tuple(b.name for b in bundles if not _same(b, to / b.name)), tuple(old)


def prune(to: Path, lock: Lock, platform: Platform) -> tuple[Path, ...]:
    """Remove those bundles in `to` that `install` put there and that hold nothing of `lock`.
    Raises ConfigError where there is no such directory."""
    if not to.is_dir():
        raise ConfigError(
            f"There is no directory {to}.",
            remedy="Name k3s's images directory, into which bundles were installed, with --to.",
        )
    needed = {
        (name, i.at(platform).digest) for i in lock.images for name in names(i, platform, lock)
    }
    with _staging(to) as staging:
        keep = set()
        for name in _installed(staging):
            with contextlib.suppress(BundleError):  # one that can't be read holds nothing
                if any((n.name, n.digest) in needed for n in contents(to / name).names):
                    keep.add(name)
        return _remove(to, staging, keep)


def _bundles(source: Path, platform: Platform) -> list[Path]:
    paths = bundles_in(source)
    found = [
        p
        for p in paths
        if any(n.platform is None or n.platform in platform.accepts() for n in contents(p).names)
    ]
    if not found:
        others = f"; it has {', '.join(p.name for p in paths)}" if paths else ""
        raise BundleError(
            f"{source} has no bundle for {platform}{others}.",
            remedy="Make one with `hardtack images pull`.",
        )
    return found


def _stage_and_move(
    bundles: Sequence[Path], to: Path, staging: Path, progress: Progress
) -> tuple[Path, ...]:
    new = [b for b in bundles if not _same(b, to / b.name)]
    check_space(staging, sum(b.stat().st_size for b in new))
    for bundle in new:
        staged = staging / bundle.name
        _copy(bundle, staged, progress)
        try:
            verify(staged)
        except BundleError as error:  # about the bundle that was copied: the copy goes away
            told = error.message.replace(str(staged), str(bundle))
            raise BundleError(told, remedy=error.remedy) from error
    # Noted first: whatever an interruption leaves behind is known to be ours.
    _note(staging, _installed(staging) | {b.name for b in new})
    for bundle in new:
        os.rename(staging / bundle.name, to / bundle.name)
    fsync_directory(to)
    return tuple(to / b.name for b in new)


def _same(bundle: Path, there: Path) -> bool:
    """Whether the bundle is there already, every byte of it: the name carries the digest of what is
    inside, and disks rot."""
    if not there.exists() or there.stat().st_size != bundle.stat().st_size:
        return False
    try:
        verify(there)
    except (BundleError, OSError):
        return False
    return True


def _copy(source: Path, target: Path, progress: Progress) -> None:
    size = source.stat().st_size
    progress.task(source.name, size)
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            while count := _move(reader.fileno(), writer.fileno()):
                progress.advance(source.name, count)
            os.fsync(writer.fileno())
        except OSError as error:
            raise full(target, error) from error
    progress.done(source.name)


def _move(reader: int, writer: int) -> int:
    try:
        return os.copy_file_range(reader, writer, _STEP)
    except OSError as error:
        if error.errno not in NO_KERNEL_COPY:
            raise
        return os.sendfile(writer, reader, None, _STEP)


def _remove(to: Path, staging: Path, keep: set[str]) -> tuple[Path, ...]:
    ours = _installed(staging)
    removed = []
    for name in sorted(ours - keep):
        path = to / name
        if path.exists():
            path.unlink()
            removed.append(path)
    fsync_directory(to)
    if ours - keep:
        _note(staging, ours & keep)
    return tuple(removed)


@contextlib.contextmanager
def _staging(to: Path) -> Iterator[Path]:
    """The directory for files on their way, emptied of what an interruption left, and locked."""
    make_directory(to)
    staging = to.resolve().parent / STAGING
    if _WATCHED_BY_K3S in str(staging):
        raise ConfigError(
            f"{to} lies inside a directory that k3s watches.",
            remedy="Install into the images directory itself.",
        )
    make_directory(staging)
    if staging.stat().st_dev != to.stat().st_dev:
        raise ConfigError(
            f"{to} is a mount of its own: files can't be moved into it in one step.",
            remedy=f"Mount {to.parent} instead.",
        )
    with exclusive(staging, f"Another installation is at work in {to}.", "Wait for it."):
        _empty(staging)
        try:
            yield staging
        finally:
            _empty(staging)  # after Ctrl-C, or with a bundle that is damaged, it's room for nothing


def _empty(staging: Path) -> None:
    for path in bundles_in(staging):
        path.unlink()


def _installed(staging: Path) -> set[str]:
    """Names of the files that installations put into the images directory."""
    path = staging / "installed.json"
    try:
        document = json.loads(path.read_bytes())
        return {Path(str(name)).name for name in document["files"]}
    except FileNotFoundError:
        return set()
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s): older bundles stay where they are", path, error)
        return set()


def _note(staging: Path, files: set[str]) -> None:
    write_atomically(
        staging / "installed.json", json.dumps({"version": 1, "files": sorted(files)}).encode()
    )
