"""Starts one server of a version, and waits until it is ready or says why it never will be."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from hardtack.endpoint.backends.aside import Aside
from hardtack.endpoint.backends.asking import ask
from hardtack.endpoint.backends.process import Process
from hardtack.endpoint.backends.versions import Version
from hardtack.inference.arrived import present
from hardtack.inference.ondisk import NotHere

MOUNT_PATIENCE = 20.0  # seconds that a mount has to answer
_RESERVED = 512_000_000
"""Bytes that a runtime reserves and never touches; the kernel's limit counts them, we don't."""


@dataclass(frozen=True)
class Pace:
    """Seconds: `refresh` between looks for models; `look` between looks at servers; `probation`
    that the old server is kept after a swap, and within which a server's end counts as a crash of
    its version; `arrival` that loading may go on with no byte of its weights coming."""

    refresh: float = 60.0
    look: float = 2.0
    probation: float = 35.0
    arrival: float = 600.0


@dataclass(frozen=True)
class Making:
    """How a detector's servers are made: what starts one of a version, with its log and the bytes
    that the kernel grants it; the cap of memory in bytes (0: none), where logs and records are
    kept, the turn that loading a version waits for, and what says why a server that calls itself
    ready isn't, where nothing does so in the server."""

    start: Callable[[Version, Path, int], Awaitable[Process]]
    memory: int
    logs: Path
    records: Path
    turn: Callable[[Version], contextlib.AbstractAsyncContextManager[None]]
    examine: Callable[[Version, int], str] | None = None


@dataclass
class Server:
    version: Version
    process: Process
    since: float
    silent: int = 0
    reason: str = ""


class Failed(Exception):
    """A server did not become ready. `own`: by a fault of its version."""

    def __init__(self, reason: str, *, own: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.own = own


def too_much(process: Process, most: int) -> str:
    """Why the server takes too much memory; nothing where it doesn't, or `most` is 0."""
    taken = process.memory()
    return f"it took {taken} bytes of memory, and may take {most}" if 0 < most < taken else ""


class Starter:
    """Starts a detector's servers, one at a time. `weights`: of the one that starts now, the bytes
    that are here and those in all."""

    def __init__(
        self, making: Making, pace: Pace, log: Path, told: Callable[[str, str], None]
    ) -> None:
        """`told(phase, note)` hears how a start goes on."""
        self.weights: tuple[int, int] | None = None
        self._making = making
        self._pace = pace
        self._log = log
        self._told = told
        self._weighing: Aside[tuple[int, int]] = Aside()

    async def server(self, version: Version) -> Server:
        """A server of this version, ready. Raises Failed, EndpointError."""
        making = self._making
        self.weights = version.weights
        self._told("waiting", "")
        try:
            async with making.turn(version):
                self._told("loading", "")
                hard = making.memory + _RESERVED if making.memory else 0
                process = await making.start(version, self._log, hard)
                try:
                    await self._ready(process, version)
                except BaseException:
                    await process.kill()
                    raise
        finally:
            self.weights = None
        return Server(version, process, time.monotonic())

    async def _ready(self, process: Process, version: Version) -> None:
        """Wait until it is. Raises Failed."""
        come_at, come = time.monotonic(), -1
        while not process.exit.done():
            weights = await self._weighed(version)
            if weights is not None and weights[0] != come:
                come_at, come = time.monotonic(), weights[0]
                self.weights = weights
            if process.listening.is_set():
                status, reason = await asyncio.to_thread(ask, process.port, "/health/live")
                if status == 503:
                    raise Failed(
                        reason.rstrip(".") or "it is not live", own=await self._all_here(version)
                    )
                status, waits = await asyncio.to_thread(ask, process.port, "/health/ready")
                if status == 200:
                    await self._examined(process, version)
                    return
                self._told("loading", waits)
            if reason := too_much(process, self._making.memory):
                raise Failed(reason, own=True)
            if time.monotonic() - come_at > self._pace.arrival:
                waited = f"it was not ready {self._pace.arrival:.0f} s after the last of its bytes"
                raise Failed(waited, own=await self._all_here(version))
            await asyncio.wait({process.exit}, timeout=0.1)
        raise Failed(process.exit.result().rstrip("."), own=await self._all_here(version))

    async def _examined(self, process: Process, version: Version) -> None:
        """Raises Failed where another program's server fails the golden picture."""
        examine = self._making.examine
        try:
            wrong = await asyncio.to_thread(examine, version, process.port) if examine else ""
        except NotHere as error:
            raise Failed(error.message.rstrip("."), own=False) from None
        if wrong:
            raise Failed(wrong, own=await self._all_here(version))

    async def _weighed(self, version: Version) -> tuple[int, int] | None:
        try:
            return await self._weighing.run(
                functools.partial(present, *version.packages), MOUNT_PATIENCE
            )
        except (TimeoutError, OSError):
            return None

    async def _all_here(self, version: Version) -> bool:
        """A failure is the version's own only where all of its bytes are on the box."""
        weights = await self._weighed(version)
        return weights is not None and weights[0] >= weights[1]
