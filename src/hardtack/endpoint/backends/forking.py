"""The zygote's own part: a process of one thread that has everything imported, and forks.

What it is told and tells, over a socket of packets (SOCK_SEQPACKET) and a pipe for each server:

- a packet of JSON `{"server": number, "words": […], "memory": bytes}` with two descriptors, the
  server's standard error and the pipe for its fate: fork one. The pipe says its process id at once,
  and its exit code (below 0: minus the signal) when it has ended, each on a line; it ends without
  one where the zygote did.
- `{"server": number, "signal": number}`: pass it on, where that server has not ended.

The standard library only: it runs while everything else is imported for the servers.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from hardtack.endpoint.backends.child import bind, limit

_PACKET = 1 << 16
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ARG_START = 48 - 3  # of the fields behind the name in /proc/self/stat
ROOM = 2000
"""Bytes of its command line that the zygote is started with, for its servers to have theirs in."""


class Zygote:
    """Made before the imports, so that what ends the endpoint's process group ends no import."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._servers: dict[int, int] = {}
        self._fates: dict[int, int] = {}
        self._handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}

    def serve(self) -> list[str] | None:
        """Fork what is ordered. Returns in each server, with its words; and None when whoever
        orders is gone."""
        gc.collect()
        gc.freeze()  # what all share is not looked through, and so not copied, by any
        self._alarm, told = socket.socketpair()
        told.setblocking(False)
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as either, told:
            either.register(self._orders, selectors.EVENT_READ)
            either.register(self._alarm, selectors.EVENT_READ)
            while True:
                for key, _ in either.select():
                    if key.fileobj is self._alarm:
                        self._alarm.recv(_PACKET)
                        self._bury()
                        continue
                    order, files, *_ = socket.recv_fds(self._orders, _PACKET, 2)
                    if not order:
                        return None
                    if words := self._obey(json.loads(order), files):
                        return words

    def _obey(self, order: dict[str, Any], files: list[int]) -> list[str]:
        """The words of the server that this is, in the server."""
        if "signal" in order:
            if process := self._servers.get(order["server"]):
                os.kill(process, order["signal"])
            return []
        if len(files) != 2:  # the kernel had no room for them: who asked sees their pipes end
            for file in files:
                os.close(file)
            return []
        errors, fate = files
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError as error:
            _tell(fate, f"can't be forked: {error.strerror}")
            os.close(fate)
            process = -1
        if process == 0:
            self._leave(parent, errors, order["memory"], fate)
            words: list[str] = order["words"]
            return words
        os.close(errors)
        if process > 0:
            self._servers[order["server"]] = process
            self._fates[process] = fate
            _tell(fate, str(process))
        return []

    def _leave(self, parent: int, errors: int, memory: int, fate: int) -> None:
        """Be a server: nothing is left of the zygote but what it had imported."""
        bind(parent)
        limit(memory)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        for file in (errors, fate, *self._fates.values()):
            os.close(file)
        # New ones: the old remember whether what was behind them could be sought in.
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._alarm.close()
        self._orders.close()

    def _bury(self) -> None:
        """Tell the fates of those that have ended."""
        while self._fates:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            self._servers = {n: p for n, p in self._servers.items() if p != process}
            fate = self._fates.pop(process)
            _tell(fate, str(os.waitstatus_to_exitcode(status)))
            os.close(fate)


def rename(words: list[str]) -> None:
    """Have `ps` show these words as this process's command line, as far as there is room."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = map(int, fields[_ARG_START : _ARG_START + 2])
    room = end - start - 1
    line = b"\0".join(map(os.fsencode, words))[:room].ljust(room)
    ctypes.memmove(start, line + b"\0", room + 1)


def _tell(fate: int, what: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked has ended, as this is about to
        os.write(fate, f"{what}\n".encode())
