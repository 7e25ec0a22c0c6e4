"""What each FUSE request means: the tree and the bytes of a cache, read-only."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from typing import Protocol

from hardtack.cache.api import ROOT, Entry, Invalidation, Kind, Presence, Reply, State
from hardtack.cache.results import Status
from hardtack.core.errors import HardtackError
from hardtack.mount import directories, wire
from hardtack.mount.directories import Asked, Directories, known
from hardtack.mount.handles import Handles
from hardtack.mount.look import Look
from hardtack.mount.mountinfo import PROBE
from hardtack.mount.shared import Mode
from hardtack.mount.wire import Op

log = logging.getLogger(__name__)

PROBE_INO = 1 << 62
ENTRY_VALID = 3600
ENTRY_VALID_OLD = 60
"""Seconds for which the kernel may trust a name. A worker that dies between a new generation and
its notification is made up for by a new epoch (7.44); older kernels ask again after a minute."""
ATTR_VALID = 86400
"""An inode's attributes never change: it belongs to one identity."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND


class Tree(directories.Tree, Protocol):
    """The part of a cache that the file system asks."""

    def lookup(self, parent: int, name: str) -> Entry | None: ...
    def presence(self, entry: Entry) -> Presence: ...
    def trusted_fd(self, entry: Entry) -> int | None: ...
    def read(self, entry: Entry, offset: int, size: int, reply: Reply) -> None: ...
    def hold(self, id: int) -> None: ...
    def drop(self, id: int) -> None: ...
    def on_invalidate(self, callback: Callable[[Invalidation], None]) -> None: ...
    def status(self) -> Status: ...


class Connection(Protocol):
    """How answers reach the kernel; each returns False when it no longer wants the answer."""

    def reply(self, unique: int, *parts: bytes | memoryview) -> bool: ...
    def fail(self, unique: int, number: int) -> bool: ...


class FileSystem:
    """Answers requests from any thread. Holds nothing that a restart would miss."""

    def __init__(
        self,
        tree: Tree,
        handles: Handles,
        connection: Connection,
        look: Look,
        probe: Callable[[], bytes],
        release: str,
        entry_valid: int,
    ) -> None:
        self._tree = tree
        self._handles = handles
        self._connection = connection
        self._look = look
        self._probe = probe
        self._release = release
        self._entry_valid = entry_valid
        self._directories = Directories(tree, look, entry_valid=entry_valid, attr_valid=ATTR_VALID)
        self._probed: dict[int, bytes] = {}
        """What each open handle of the synthetic file reads: one document, whole or in pieces."""
        self._operations: dict[int, Callable[[wire.Request], None]] = {
            Op.LOOKUP: self._lookup,
            Op.GETATTR: self._getattr,
            Op.READLINK: self._readlink,
            Op.OPEN: self._open,
            Op.READ: self._read,
            Op.RELEASE: self._release_handle,
            Op.OPENDIR: lambda r: self._ok(r, wire.open_out(0, wire.Open.KEEP_CACHE)),
            Op.RELEASEDIR: self._ok,
            Op.READDIR: lambda r: self._readdir(r, plus=False),
            Op.READDIRPLUS: lambda r: self._readdir(r, plus=True),
            Op.STATFS: self._statfs,
            Op.GETXATTR: self._getxattr,
            Op.LISTXATTR: self._listxattr,
            Op.IOCTL: lambda r: self._fail(r, errno.ENOTTY),
            Op.DESTROY: self._ok,
        }
        for inode in handles.inodes():
            tree.hold(inode)

    def handle(self, request: wire.Request) -> None:
        """Answer `request`, now or (a read of absent bytes) later from another thread."""
        try:
            operation = self._operations.get(request.opcode)
            if operation is not None:
                operation(request)
            elif request.opcode not in wire.SILENT:
                # ENOSYS: the kernel doesn't ask again and does it itself (locks, access, lseek).
                written = request.opcode in wire.WRITES
                self._fail(request, errno.EROFS if written else errno.ENOSYS)
        except HardtackError as problem:
            log.warning("%s", problem)
            self._fail(request, problem.errno)
        except OSError as problem:
            self._fail(request, problem.errno or errno.EIO)

    def _ok(self, request: wire.Request, *parts: bytes | memoryview) -> None:
        self._connection.reply(request.unique, *parts)

    def _fail(self, request: wire.Request, number: int) -> None:
        self._connection.fail(request.unique, number)

    def _entry(self, id: int) -> Entry:
        return known(self._tree, id)

    def _probe_attributes(self) -> wire.Attributes:
        mode = stat.S_IFREG | 0o444
        return wire.Attributes(PROBE_INO, 0, 0, mode, 1, self._look.uid, self._look.gid)

    def _lookup(self, request: wire.Request) -> None:
        name = wire.name_of(request.body)
        if request.nodeid == ROOT and name == PROBE.encode():
            self._ok(request, wire.entry_out(self._probe_attributes(), ENTRY_VALID, ATTR_VALID))
            return
        entry = self._tree.lookup(request.nodeid, os.fsdecode(name))
        if entry is None:
            self._ok(request, wire.no_entry_out(self._entry_valid))
        else:
            self._ok(
                request, wire.entry_out(self._look.attributes(entry), self._entry_valid, ATTR_VALID)
            )

    def _getattr(self, request: wire.Request) -> None:
        if request.nodeid == PROBE_INO:
            attributes = self._probe_attributes()
        else:
            attributes = self._look.attributes(self._entry(request.nodeid))
        self._ok(request, wire.attr_out(attributes, ATTR_VALID))

    def _readlink(self, request: wire.Request) -> None:
        entry = self._entry(request.nodeid)
        if entry.kind is not Kind.LINK:
            raise OSError(errno.EINVAL, "not a link")
        self._ok(request, os.fsencode(entry.target))

    def _open(self, request: wire.Request) -> None:
        if wire.open_in(request.body) & _WRITING:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if request.nodeid == PROBE_INO:
            self._probed[request.unique] = self._probe()
            answer = wire.open_out(request.unique, wire.Open.DIRECT_IO)
            if not self._connection.reply(request.unique, answer):
                del self._probed[request.unique]  # whoever opened it is gone, as below
            return
        entry = self._entry(request.nodeid)
        self._tree.hold(entry.id)  # before it is looked at: it might be evicted meanwhile
        try:
            handle, new = self._handles.open(
                entry.id, request.unique, lambda: self._tree.trusted_fd(entry)
            )
        except BaseException:
            self._tree.drop(entry.id)
            raise
        if not new:
            self._tree.drop(entry.id)
        if handle.mode is Mode.PASSTHROUGH:
            answer = wire.open_out(handle.id, wire.Open.PASSTHROUGH, handle.backing)
        else:
            answer = wire.open_out(handle.id, wire.Open.KEEP_CACHE)
        if not self._connection.reply(request.unique, answer) and new:
            self._forget_handle(handle.id)  # whoever opened it is gone, there will be no RELEASE

    def _release_handle(self, request: wire.Request) -> None:
        handle = wire.release_in(request.body)
        if request.nodeid == PROBE_INO:
            self._probed.pop(handle, None)
        else:
            self._forget_handle(handle)
        self._ok(request)

    def _forget_handle(self, id: int) -> None:
        inode = self._handles.release(id)
        if inode is not None:
            self._tree.drop(inode)

    def _read(self, request: wire.Request) -> None:
        handle, offset, size = wire.read_in(request.body)
        if request.nodeid == PROBE_INO:
            if handle not in self._probed:  # opened in a worker that is gone
                self._probed[handle] = self._probe()
            self._ok(request, self._probed[handle][offset : offset + size])
            return
        entry, unique = self._entry(request.nodeid), request.unique

        def reply(result: memoryview | BaseException) -> None:
            if isinstance(result, memoryview):
                self._connection.reply(unique, result)
                return
            if not isinstance(result, HardtackError):
                log.error("%s: read failed", entry.key, exc_info=result)
            else:
                log.warning("%s: %s", entry.key, result)
            self._connection.fail(unique, getattr(result, "errno", None) or errno.EIO)

        self._tree.read(entry, offset, size, reply)

    def _statfs(self, request: wire.Request) -> None:
        """What the mount shows is its size: df compares sources, not disks."""
        status = self._tree.status()
        self._ok(request, wire.statfs_out(status.objects, status.bytes))

    def _readdir(self, request: wire.Request, *, plus: bool) -> None:
        _, after, room = wire.read_in(request.body)
        asked = Asked(request.nodeid, after, room, plus)
        self._directories.answer(asked, lambda page: self._ok(request, page))

    def _xattrs(self, entry: Entry) -> dict[bytes, Callable[[], str]]:
        if entry.kind is not Kind.FILE:
            here = self._release if entry.id == ROOT else ""
            return {b"user.hardtack.release": lambda: here} if here else {}
        found: dict[bytes, Callable[[], str]] = {
            b"user.hardtack.state": lambda: _state(self._tree.presence(entry)),
            b"user.hardtack.etag": lambda: entry.etag,
        }
        if self._release:
            found[b"user.hardtack.release"] = lambda: self._release
        return found

    def _getxattr(self, request: wire.Request) -> None:
        size, name = wire.getxattr_in(request.body)
        if not name.startswith(b"user."):
            # not "no such attribute": so `ls -l` stops asking for each file's label and ACL
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if request.nodeid == PROBE_INO:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        value = self._xattrs(self._entry(request.nodeid)).get(name)
        if value is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        self._sized(request, size, os.fsencode(value()))

    def _listxattr(self, request: wire.Request) -> None:
        size, _ = wire.getxattr_in(request.body)
        known = [] if request.nodeid == PROBE_INO else self._xattrs(self._entry(request.nodeid))
        self._sized(request, size, b"".join(name + b"\0" for name in known))

    def _sized(self, request: wire.Request, size: int, value: bytes) -> None:
        """`value`, or its length when the caller only asks for that."""
        if size == 0:
            self._ok(request, wire.size_out(len(value)))
        elif len(value) > size:
            self._fail(request, errno.ERANGE)
        else:
            self._ok(request, value)


def _state(presence: Presence) -> str:
    if presence.state is State.PARTIAL:
        return f"partial {presence.present * 100 // max(1, presence.size)}%"
    return presence.state.value


class Notifier:
    """Tells the kernel which names changed, from a thread of its own.

    Never from a request's thread: the kernel takes the directory's lock for it, which a look-up
    that waits for us may hold.
    """

    AGAIN = 1.0
    """Seconds until names are named again, for answers from before that were still on the way."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._changes: list[tuple[int, str]] = []
        self._wake = threading.Condition()
        threading.Thread(target=self._run, name="notify", daemon=True).start()

    def __call__(self, changed: Invalidation) -> None:
        with self._wake:
            self._changes += changed
            self._wake.notify()

    def _run(self) -> None:
        again: list[tuple[int, str]] = []
        while True:
            with self._wake:
                self._wake.wait_for(lambda: bool(self._changes), self.AGAIN if again else None)
                changes, self._changes = self._changes, []
            for parent, name in again + changes:
                self._send(wire.invalidate_entry(parent, os.fsencode(name)))
            for parent in {parent for parent, _ in again + changes}:
                self._send(wire.invalidate_inode(parent))
            again = changes
