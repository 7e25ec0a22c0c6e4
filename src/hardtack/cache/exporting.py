"""Plain files from the cache, for boxes without FUSE."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

from hardtack.cache.api import Entry, Kind
from hardtack.cache.content import ContentFile
from hardtack.cache.results import Prefetched, code_of_all
from hardtack.cache.selection import Selection
from hardtack.cache.store import Store
from hardtack.core.errors import CacheError, DiskFull, HardtackError

FICLONE = 0x40049409
_CANT_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
_CANT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}


def export(store: Store, selection: Selection, to: Path, done: Prefetched) -> Prefetched:
    """Write what was prefetched below `to`; a file that is there already stays.

    Raises CacheError when `to` can't be written.
    """
    failed = dict(done.failed)
    codes = {done.exit_code} if failed else set()
    try:
        to.mkdir(parents=True, exist_ok=True)
        for path, entry in selection.entries():
            target = to / path
            if path in failed or _same(store, target, entry):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write(store, entry, target)
            except HardtackError as error:
                failed[path] = str(error)
                codes.add(error.exit_code)
    except OSError as error:
        written = error.filename2 or error.filename or to  # of a copy the second is the target
        raise (DiskFull if error.errno == errno.ENOSPC else CacheError)(
            f"{written} can't be written: {error.strerror}.",
            remedy="Check the permissions of the --to directory, and its disk's free space.",
        ) from error
    return Prefetched(
        done.files, done.bytes, done.fetched_bytes, tuple(failed.items()), code_of_all(codes)
    )


def _same(store: Store, target: Path, entry: Entry) -> bool:
    if entry.kind is Kind.LINK:
        return target.is_symlink() and str(target.readlink()) == entry.target
    try:
        found = target.lstat()
    except FileNotFoundError:
        return False
    if (found.st_size, found.st_mtime_ns) == (entry.size, entry.mtime_ns):
        return True
    return os.path.samestat(found, os.stat(store.content(entry).path))


def _write(store: Store, entry: Entry, target: Path) -> None:
    """Put one file or link in place whole, by a rename."""
    temporary = target.with_name(f".{entry.id}.hardtack-part")
    temporary.unlink(missing_ok=True)
    content = store.content(entry) if entry.kind is Kind.FILE else None
    try:
        if content is None:
            temporary.symlink_to(entry.target)
        else:
            _copy(content, entry.mtime_ns, temporary)
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)  # half a file would take a full disk's last room
        raise
    if content is not None:
        store.sealer.renew(content)


def _copy(content: ContentFile, mtime_ns: int, to: Path) -> None:
    """Raises CacheError where the content isn't whole from the first to the last byte of it."""
    whole = content.complete and _copied(content.path, to, mtime_ns)
    if not whole or not content.complete:  # it lost a chunk meanwhile, or all of them
        raise CacheError("it left the cache meanwhile, or was damaged.", remedy="Run it again.")


def _copied(source: Path, to: Path, mtime_ns: int) -> bool:
    """Whether `source` was there to be copied."""
    try:
        if not _clone(source, to):
            if _link(source, to):  # shares its times with the cache's file, which are left alone
                return True
            shutil.copyfile(source, to)
    except FileNotFoundError:
        if source.exists():
            raise
        return False
    to.chmod(0o644)
    os.utime(to, ns=(mtime_ns, mtime_ns))
    return True


def _clone(source: Path, to: Path) -> bool:
    with source.open("rb") as one, to.open("wb") as other:
        try:
            fcntl.ioctl(other.fileno(), FICLONE, one.fileno())
        except OSError as error:
            if error.errno not in _CANT_CLONE:
                raise
            to.unlink()
            return False
    return True


def _link(source: Path, to: Path) -> bool:
    try:
        source.chmod(0o444)
        to.hardlink_to(source)
    except OSError as error:
        if error.errno not in _CANT_LINK:
            raise
        return False
    return True
