"""A worker's conversation with the kernel: the handshake, the reading threads, the replies."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time

from hardtack.core.errors import MountError
from hardtack.mount import wire
from hardtack.mount.device import DEVICE
from hardtack.mount.filesystem import FileSystem
from hardtack.mount.shared import PrivateBuffers, RequestSlots, Shared
from hardtack.mount.wire import Init, Op

log = logging.getLogger(__name__)

READERS = 2
_PAUSE = 0.1
"""Seconds after a read of the device that failed for want of something (memory)."""
_WANTED = (
    Init.ASYNC_READ
    | Init.DO_READDIRPLUS
    | Init.PARALLEL_DIROPS
    | Init.MAX_PAGES
    | Init.CACHE_SYMLINKS
    | Init.INIT_EXT
    | Init.PASSTHROUGH
    | Init.HAS_RESEND
)
DISABLE = {"passthrough": Init.PASSTHROUGH, "resend": Init.HAS_RESEND}
"""What `HARDTACK_FUSE_DISABLE` may name, to do without a newer kernel's help."""


def disabled() -> Init:
    """The flags that `HARDTACK_FUSE_DISABLE` names (comma-separated)."""
    flags = Init(0)
    for word in os.environ.get("HARDTACK_FUSE_DISABLE", "").split(","):
        flags |= DISABLE.get(word.strip(), Init(0))
    return flags


class Session:
    """The connection of one worker; implements `Connection` for the file system."""

    def __init__(self, fuse: int, shared: Shared) -> None:
        self._fuse = fuse
        self._shared = shared
        self._without = disabled()
        self._lock = threading.Lock()
        self._waiting: set[int] = set()
        self.draining = False
        self._silent = False
        self.ended = threading.Event()
        self.resumed = shared.negotiated is not None
        self._slots = RequestSlots(shared)
        self._buffers: RequestSlots | PrivateBuffers = self._slots
        self.flags, self.minor = Init(0), 0

    def negotiate(self) -> None:
        """Answer INIT, or take over from a worker that did. Raises MountError on an old kernel."""
        if self._shared.negotiated is None:
            left = self._slots.unanswered()
            if not left and not self._without & Init.HAS_RESEND:
                self.notify(wire.resend())  # a worker may have died with INIT in its hands
            while self._shared.negotiated is None and not self.ended.is_set():
                buffer = left.pop() if left else self._receive()
                if buffer is not None:
                    self._answer_init(wire.parse(buffer))
        if self.ended.is_set():
            return
        assert self._shared.negotiated is not None
        self.minor, flags = self._shared.negotiated
        self.flags = Init(flags)
        if self.flags & Init.HAS_RESEND:
            self._buffers = PrivateBuffers()

    def _answer_init(self, request: wire.Request) -> None:
        if request.opcode != Op.INIT:
            self.fail(request.unique, errno.EIO)
            return
        major, minor, readahead, offered = wire.init_in(request.body)
        if (major, minor) < (wire.MAJOR, wire.OLDEST_MINOR):
            self.fail(request.unique, errno.EPROTO)
            raise MountError(
                f"The kernel speaks FUSE {major}.{minor}, hardtack needs "
                f"{wire.MAJOR}.{wire.OLDEST_MINOR} or later.",
                remedy="Use Linux 5.4 or later.",
            )
        flags = offered & _WANTED & ~self._without
        answer = wire.init_out(flags, readahead=max(readahead, wire.MAX_READ))
        # Remembered first: an INIT that is answered but not remembered would be awaited for ever.
        self._shared.negotiated = (minor, int(flags))
        self.reply(request.unique, answer)

    def serve(self, filesystem: FileSystem) -> None:
        """Answer what was left unanswered, then start the reading threads."""
        if self.resumed:
            if self.minor >= 44:
                self.notify(wire.increment_epoch())
            if isinstance(self._buffers, RequestSlots):
                for buffer in self._buffers.unanswered():
                    self._dispatch(filesystem, wire.parse(buffer))
            else:
                self.notify(wire.resend())
        for number in range(READERS):
            threading.Thread(
                target=self._run, args=(filesystem,), name=f"fuse-{number}", daemon=True
            ).start()

    def _run(self, filesystem: FileSystem) -> None:
        while not self.draining and not self.ended.is_set():
            buffer = self._receive()
            if buffer is None:
                continue
            self._dispatch(filesystem, wire.parse(buffer))

    def _dispatch(self, filesystem: FileSystem, request: wire.Request) -> None:
        with self._lock:
            if self.draining:
                return  # unanswered: the next worker gets it
            if request.opcode not in wire.SILENT:
                self._waiting.add(request.unique)
        try:
            if request.opcode == Op.INIT:
                self._answer_init(request)  # its answer died with the last worker
            else:
                filesystem.handle(request)
        except Exception:  # the top of a thread: one bad request must not end it
            log.exception("request %d failed", request.opcode)
            self.fail(request.unique, errno.EIO)
        if request.opcode in wire.SILENT:
            self._buffers.answered(request.unique)

    def _receive(self) -> memoryview | None:
        """The next request's buffer; None when there is none this time."""
        buffer = self._buffers.take()
        try:
            os.readv(self._fuse, [buffer])
        except OSError as problem:
            self._buffers.give_back()
            if problem.errno in (errno.ENODEV, errno.ECONNABORTED):
                self.ended.set()
            elif problem.errno not in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                log.error("reading from %s failed: %s", DEVICE, problem.strerror)
                time.sleep(_PAUSE)
            return None
        self._buffers.holds(wire.parse(buffer).unique)
        return buffer

    def reply(self, unique: int, *parts: bytes | memoryview) -> bool:
        """Answer; False when nobody waits any more."""
        header = wire.ok_header(unique, sum(map(len, parts)))
        return self._answer(unique, [header, *parts])

    def fail(self, unique: int, number: int) -> bool:
        """Answer with an errno."""
        return self._answer(unique, [wire.error(unique, number)])

    def _answer(self, unique: int, parts: list[bytes | memoryview]) -> bool:
        if self._silent:
            return False
        wanted = True
        try:
            os.writev(self._fuse, parts)
        except OSError as problem:
            wanted = False
            if problem.errno not in (errno.ENOENT, errno.ENODEV):
                log.error("an answer was refused by the kernel: %s", problem)
                if len(parts) > 1:
                    return self.fail(unique, errno.EIO)
        self._buffers.answered(unique)
        with self._lock:
            self._waiting.discard(unique)
        return wanted

    def notify(self, message: bytes) -> None:
        """Send a notification; one that the kernel has no use for is fine."""
        try:
            os.write(self._fuse, message)
        except OSError as problem:
            log.debug("notification refused: %s", problem)

    def drain(self, seconds: float) -> bool:
        """Take no more requests, wait for the answers under way; True when all were given.

        What is not answered by then is left to the successor: nothing is answered any more.
        """
        with self._lock:
            self.draining = True
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self._lock:
                if not self._waiting:
                    return True
            time.sleep(0.005)
        self._silent = True
        return False
