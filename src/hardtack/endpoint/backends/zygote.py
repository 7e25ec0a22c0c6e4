"""The zygote, seen from the endpoint: it starts our own inference servers by forking them.

See docs/adr/0025-zygote.md. The standard library only: it is started before the rest of the
endpoint is imported, so that both import at once.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hardtack.core.errors import EndpointError
from hardtack.endpoint.backends.forking import ROOM

_log = logging.getLogger(__name__)

_PATIENCE = 10.0
_PAUSE = 0.05


class Zygote:
    """One that died is followed by another at the next fork; its servers died with it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: the servers' own."""
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._numbers = itertools.count(1)
        self._late: set[asyncio.Task[None]] = set()

    def launch(self) -> None:
        """Have one run. Raises EndpointError where none can."""
        if self._process and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = str(theirs.fileno())
            words = ["-m", "hardtack.cli.zygote", number, str(os.getpid()), " " * ROOM]
            try:
                self._process = subprocess.Popen(
                    [sys.executable, *words], env=self._environment, stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise EndpointError(f"A server can't be started: {error}.") from None
        ours.setblocking(False)
        self._orders = ours

    def close(self) -> None:
        """End it, and with it what it forked."""
        if self._orders:
            self._orders.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._orders = self._process = None

    async def fork(self, words: Sequence[str], memory: int) -> Forked:
        """A process that runs `hardtack WORDS` with at most `memory` bytes of data (0: no limit).

        Raises EndpointError.
        """
        self.launch()
        server = next(self._numbers)
        said, errors = await _pipe()
        try:
            told, fate = await _pipe()
            try:
                order = {"server": server, "words": list(words), "memory": memory}
                self._send(order, [errors, fate])
            finally:
                os.close(fate)
        finally:
            os.close(errors)
        try:
            answer = (await told.readline()).decode().strip()
        except asyncio.CancelledError:
            self.pass_on(server, signal.SIGKILL)
            raise
        if not answer.isdecimal():
            reason = answer or "the zygote ended; the endpoint's log says more"
            raise EndpointError(f"A server can't be started: {reason}.")
        return Forked(self, server, int(answer), said, told)

    def pass_on(self, server: int, number: int) -> None:
        """Send a signal to a server, where it has not ended; as soon as the zygote takes orders."""
        order = {"server": server, "signal": number}
        if not self._passed(order):
            task = asyncio.create_task(self._pass_on_later(order))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def _pass_on_later(self, order: Mapping[str, Any]) -> None:
        """A zygote that takes no orders is ended: nothing else ends the server."""
        process, until = self._process, time.monotonic() + _PATIENCE
        while not self._passed(order):
            if time.monotonic() > until and process is self._process:
                _log.error("The zygote takes no orders. It is ended, and its servers with it.")
                self.close()
            await asyncio.sleep(_PAUSE)

    def _passed(self, order: Mapping[str, Any]) -> bool:
        """Whether the order was taken, or needn't be any more."""
        try:
            self._put(order, [])
        except BlockingIOError:
            return False
        except OSError:
            return True  # the server ended with its zygote
        return True

    def _put(self, order: Mapping[str, Any], files: list[int]) -> None:
        """Raises OSError, BlockingIOError where the zygote has too much to read already."""
        if self._orders is None:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        socket.send_fds(self._orders, [json.dumps(order).encode()], files)

    def _send(self, order: Mapping[str, Any], files: list[int]) -> None:
        """Raises EndpointError."""
        try:
            self._put(order, files)
        except OSError as error:
            why = f"the zygote can't be told ({error.strerror}); the endpoint's log says more"
            raise EndpointError(f"A server can't be started: {why}.") from None


class Forked:
    """A server of the zygote's, as asyncio describes a process."""

    def __init__(
        self, zygote: Zygote, server: int, pid: int, stderr: asyncio.StreamReader,
        fate: asyncio.StreamReader,
    ) -> None:  # fmt: skip
        self.pid = pid
        self.stderr: asyncio.StreamReader | None = stderr
        self.returncode: int | None = None
        self._zygote = zygote
        self._server = server
        self._fate = fate

    async def wait(self) -> int:
        """Its exit code; minus the signal that ended it."""
        told = (await self._fate.readline()).decode().strip()
        # It dies with its zygote, by this signal.
        self.returncode = int(told) if told else -signal.SIGKILL
        return self.returncode

    def terminate(self) -> None:
        self._zygote.pass_on(self._server, signal.SIGTERM)

    def kill(self) -> None:
        self._zygote.pass_on(self._server, signal.SIGKILL)


async def _pipe() -> tuple[asyncio.StreamReader, int]:
    """A pipe: who reads it, and the descriptor to write into, which is the caller's to close."""
    ours, theirs = os.pipe()
    reader = asyncio.StreamReader()
    try:
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", 0)
        )
    except BaseException:
        os.close(theirs)
        raise
    return reader, theirs
