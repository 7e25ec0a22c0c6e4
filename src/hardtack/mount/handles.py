"""Open files: which inode is open in which mode, over the deaths of workers."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass

from hardtack.mount import device, wire
from hardtack.mount.shared import Handle, Mode, Shared

log = logging.getLogger(__name__)


@dataclass
class _Opened:
    mode: Mode
    count: int
    backing: int


class Handles:
    """The open handles, in shared memory, and per inode their common mode."""

    def __init__(self, shared: Shared, fuse: int, *, passthrough: bool) -> None:
        self._shared = shared
        self._fuse = fuse
        self._passthrough = passthrough
        self._lock = threading.Lock()
        self._inodes: dict[int, _Opened] = {}
        self._by_unique: dict[int, Handle] = {}
        """What a dead worker opened: it may have died before the kernel heard of it."""
        for handle in shared.handles():
            self._count(handle)
            self._by_unique[handle.unique] = handle

    def inodes(self) -> list[int]:
        """The inode of each handle, once for each."""
        return [handle.inode for handle in self._shared.handles()]

    def _count(self, handle: Handle) -> None:
        opened = self._inodes.get(handle.inode)
        if opened is None:
            self._inodes[handle.inode] = _Opened(handle.mode, 1, handle.backing)
        else:
            opened.count += 1

    def open(
        self, inode: int, unique: int, trusted: Callable[[], int | None]
    ) -> tuple[Handle, bool]:
        """(handle, whether it is new). `trusted` gives a descriptor that may be passed through.

        Raises OSError: EIO when the inode is open in passthrough and no longer trusted (the
        kernel refuses to have it open both ways), ENFILE when the table is full.
        """
        unique &= ~wire.UNIQUE_RESEND
        with self._lock:
            known = self._by_unique.pop(unique, None)
            if known is not None and known.inode == inode:
                return known, False
            opened = self._inodes.get(inode)
            if opened is None:
                mode, backing = self._choose(trusted)
            else:
                mode, backing = opened.mode, opened.backing
                if mode is Mode.PASSTHROUGH:
                    self._check_trusted(trusted)
            handle = self._shared.add(mode, inode, unique, backing)
            if handle is None:
                raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))
            self._count(handle)
            return handle, True

    def _choose(self, trusted: Callable[[], int | None]) -> tuple[Mode, int]:
        fd = trusted() if self._passthrough else None
        if fd is None:
            return Mode.CACHED, 0
        try:
            return Mode.PASSTHROUGH, device.backing_open(self._fuse, fd)
        except OSError as problem:
            self._passthrough = False
            log.warning("reads are copied: the kernel refuses passthrough (%s)", problem.strerror)
            return Mode.CACHED, 0
        finally:
            os.close(fd)

    @staticmethod
    def _check_trusted(trusted: Callable[[], int | None]) -> None:
        fd = trusted()
        if fd is None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.close(fd)

    def release(self, id: int) -> int | None:
        """Forget a handle; its inode, or None when that was done before."""
        with self._lock:
            handle = self._shared.remove(id)
            if handle is None:
                return None
            self._by_unique.pop(handle.unique, None)
            opened = self._inodes[handle.inode]
            opened.count -= 1
            if opened.count == 0:
                del self._inodes[handle.inode]
                if opened.mode is Mode.PASSTHROUGH:
                    device.backing_close(self._fuse, opened.backing)
            return handle.inode
