"""Keeps one detector served: starts its server, restarts it, and rolls new versions out.

Of a detector at most two servers run: the one that serves, and either a newer version that loads
beside it, or, for a while after a swap, the one from before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from hardtack.core.backoff import Backoff
from hardtack.core.errors import EndpointError, in_words
from hardtack.endpoint.backends import record, versions
from hardtack.endpoint.backends.aside import Aside
from hardtack.endpoint.backends.asking import ask
from hardtack.endpoint.backends.process import Process
from hardtack.endpoint.backends.versions import Seen, Version
from hardtack.endpoint.servers import Address, State
from hardtack.inference.arrived import present
from hardtack.inference.ondisk import NotHere

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=0.5, cap=30.0)
_MOUNT_PATIENCE = 20.0
_CRASHES = 3
_SILENT = 3
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
class _Server:
    version: Version
    process: Process
    since: float
    silent: int = 0
    reason: str = ""


class _Failed(Exception):
    """A server did not become ready. `own`: by a fault of its version."""

    def __init__(self, reason: str, *, own: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.own = own


class Keeper:
    def __init__(self, detector: str, models: Path, making: Making, pace: Pace) -> None:
        self.detector = detector
        self._directory = models / detector
        self._making = making
        self._pace = pace
        self._looking: Aside[Seen] = Aside()
        self._weighing: Aside[tuple[int, int]] = Aside()
        self._record_path = making.records / f"{detector}.json"
        self._record = record.read(self._record_path)
        self._seen = Seen()
        self._look_at = 0.0
        self._delays = _BACKOFF.delays()
        self._not_before = 0.0
        self._serving: _Server | None = None
        self._before: _Server | None = None
        self._trying: asyncio.Task[_Server] | None = None
        self._tried: Version | None = None
        self._weights: tuple[int, int] | None = None
        self._failures: dict[str, int] = {}
        self._restarts = 0
        self._phase, self._note = "waiting", ""
        self._task = asyncio.create_task(self._keep(), name=f"servers of {detector}")

    @property
    def address(self) -> Address | None:
        found = self._serving
        if found is None or found.process.exit.done():
            found = self._before
        if found is None or found.process.exit.done():
            return None
        return Address("127.0.0.1", found.process.port, found.version.label)

    @property
    def state(self) -> State:
        refused = "".join(
            f"Version {label} is refused: {reason}. "
            for label, reason in versions.refused_now(self._seen, self._record.refused)
        )
        if self._serving is not None:
            label = self._serving.version.label
            if self.address is None:  # a moment ago
                note = f"Its server ended, and is started again. {refused}".strip()
                return State("failed", label, note, self._restarts, None, self._refused_labels())
            beside = ""
            if self._trying and self._tried:
                beside = f"Version {self._tried.label} loads beside it. "
            return State(
                "ready", label, (refused + beside).strip(), self._restarts,
                self._weights if self._trying else None, self._refused_labels(),
            )  # fmt: skip
        label = self._tried.label if self._tried else ""
        note = f"{self._note} {refused}".strip()
        return State(
            self._phase, label, note, self._restarts, self._weights, self._refused_labels()
        )

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _keep(self) -> None:
        troubles = _BACKOFF.delays()
        try:
            while True:
                try:
                    await self._begin()
                    await self._wait()
                    await self._settle()
                    troubles = _BACKOFF.delays()
                except Exception as error:  # noqa: BLE001 (a fault of ours ends no good server)
                    _log.exception("Looking after %s failed. It is tried again.", self.detector)
                    self._phase, self._note = "failed", f"{in_words(error)}."
                    await self._drop_broken()
                    await asyncio.sleep(next(troubles))
        finally:
            if self._trying:
                self._trying.cancel()
                await asyncio.wait({self._trying})
                if not self._trying.cancelled() and self._trying.exception() is None:
                    await self._trying.result().process.end()
            left = [s.process.end() for s in (self._serving, self._before) if s]
            self._serving = self._before = None
            self._phase = "stopped"
            await asyncio.gather(*left)

    async def _drop_broken(self) -> None:
        """Let go of servers that nobody follows any more."""
        servers = (self._serving, self._before)
        broken = [s for s in servers if s and s.process.exit.done() and s.process.exit.exception()]
        self._serving, self._before = (None if s in broken else s for s in servers)
        for server in broken:
            await server.process.kill()

    async def _begin(self) -> None:
        """Start what is due, if anything is."""
        now = time.monotonic()
        if self._trying or (self._serving and self._before) or now < self._not_before:
            return
        if self._serving and now < self._look_at:
            return
        self._look_at = now + self._pace.refresh
        await self._look()
        refused = self._record.refused.keys()
        if self._serving:
            chosen = versions.following(self._seen, self._serving.version.identity, refused)
        else:
            chosen = versions.first(self._seen, self._record.last, refused)
        if chosen is not None:
            self._tried, self._weights = chosen, chosen.weights
            self._trying = asyncio.create_task(self._start(chosen))
        elif self._serving is None:
            self._phase, self._note, self._tried = "absent", self._seen.problem, None
            self._weights = None
            self._not_before = now + min(self._pace.refresh, 5.0)

    async def _look(self) -> None:
        try:
            self._seen = await self._looking.run(
                functools.partial(versions.look, self._directory), _MOUNT_PATIENCE
            )
        except TimeoutError:
            self._seen = Seen(problem=f"The mount of {self._directory} does not answer.")

    async def _wait(self) -> None:
        """Until something has happened, or may have."""
        watched = {s.process.exit for s in (self._serving, self._before) if s}
        tasks: set[asyncio.Task[str] | asyncio.Task[_Server]] = {*watched}
        if self._trying:
            tasks.add(self._trying)
        if tasks:
            await asyncio.wait(tasks, timeout=self._pace.look, return_when=asyncio.FIRST_COMPLETED)
        else:
            pause = self._not_before - time.monotonic()
            await asyncio.sleep(min(max(pause, 0.05), self._pace.look))

    async def _settle(self) -> None:
        if self._trying and self._trying.done():
            await self._tried_one(self._trying)
        for server in (self._serving, self._before):
            if server and not server.process.exit.done():
                await self._watch(server)
        if self._before and self._before.process.exit.done():
            self._before = None
        if self._serving and self._serving.process.exit.done():
            self._ended(self._serving)
        serving, now = self._serving, time.monotonic()
        if serving and self._before and now - serving.since > self._pace.probation:
            before, self._before = self._before, None
            await before.process.end()
        if serving and now - serving.since > self._pace.probation:
            self._failures.pop(serving.version.identity, None)
            self._delays = _BACKOFF.delays()
            if self._record.last != serving.version.identity:
                self._record.last = serving.version.identity
                await self._keep_record()

    async def _tried_one(self, task: asyncio.Task[_Server]) -> None:
        """A version is ready to take over, or it never will be."""
        version, self._trying = self._tried, None
        assert version is not None
        self._weights = None
        if task.cancelled():
            return
        try:
            server = task.result()
        except (_Failed, EndpointError) as error:
            own = isinstance(error, _Failed) and error.own
            await self._failed(version, str(error), own=own)
            return
        except Exception as error:  # noqa: BLE001 (told, and tried again)
            _log.exception("Version %s of %s can't be started.", version.label, self.detector)
            await self._failed(version, in_words(error), own=False)
            return
        if not self._serving and not self._record.last:  # nothing better is known yet
            self._record.last = version.identity
            await self._keep_record()
        self._before, self._serving = self._serving, server
        self._note = ""
        _log.info("%s is ready, version %s", self.detector, version.label)

    def _ended(self, server: _Server) -> None:
        """The serving one is gone: back to the one before it, or start again."""
        reason = server.reason or server.process.exit.result()
        self._restarts += 1
        early = time.monotonic() - server.since < self._pace.probation
        if early:
            identity = server.version.identity
            self._failures[identity] = self._failures.get(identity, 0) + 1
        if self._before:
            _log.error(
                "Version %s of %s ended: %s. Version %s answers again.",
                server.version.label, self.detector, reason, self._before.version.label,
            )  # fmt: skip
            self._refuse(server.version, reason)
            self._serving, self._before = self._before, None
            return
        self._serving = None
        if self._trying:  # what is known to work goes before what is new
            self._trying.cancel()
        self._crashed(server.version, reason)

    def _crashed(self, version: Version, reason: str) -> None:
        """Start again after a while; another version where this one keeps failing."""
        self._phase, self._note = "failed", f"{reason}."
        _log.error("The server of %s ended: %s. It is started again.", self.detector, reason)
        others = any(
            v.identity != version.identity and v.identity not in self._record.refused
            for v in self._seen.whole
        )
        if self._failures.get(version.identity, 0) >= _CRASHES and others:
            self._refuse(version, reason)
        self._not_before = time.monotonic() + next(self._delays)

    async def _failed(self, version: Version, reason: str, *, own: bool) -> None:
        if own:
            self._failures[version.identity] = self._failures.get(version.identity, 0) + 1
        if self._serving is None:
            self._restarts += 1
            self._crashed(version, reason)
            return
        _log.error(
            "Version %s of %s can't take over from %s: %s.",
            version.label, self.detector, self._serving.version.label, reason,
        )  # fmt: skip
        if own:
            self._refuse(version, reason)
        self._not_before = time.monotonic() + next(self._delays)

    def _refuse(self, version: Version, reason: str) -> None:
        self._record.refuse(version.identity, reason)
        record.write(self._record_path, self._record)

    def _refused_labels(self) -> tuple[str, ...]:
        return tuple(label for label, _ in versions.refused_now(self._seen, self._record.refused))

    async def _keep_record(self) -> None:
        await asyncio.to_thread(record.write, self._record_path, self._record)

    async def _watch(self, server: _Server) -> None:
        """End a server that hangs or takes more memory than it may."""
        server.reason = self._too_much(server.process)
        if not server.reason:
            status, reason = await asyncio.to_thread(ask, server.process.port, "/health/live")
            server.silent = server.silent + 1 if status == 0 else 0
            if status == 503 or server.silent >= _SILENT:
                server.reason = f"it hangs: {reason or 'nobody answers /health/live'}".rstrip(".")
        if server.reason and not server.process.exit.done():
            await server.process.kill()

    def _too_much(self, process: Process) -> str:
        most, taken = self._making.memory, process.memory()
        return f"it took {taken} bytes of memory, and may take {most}" if 0 < most < taken else ""

    async def _start(self, version: Version) -> _Server:
        """A server of this version, ready. Raises _Failed, EndpointError."""
        making = self._making
        if not self._serving:
            self._phase, self._note = "waiting", ""
        async with making.turn(version):
            if not self._serving:
                self._phase = "loading"
            log = making.logs / f"{self.detector}.log"
            hard = making.memory + _RESERVED if making.memory else 0
            process = await making.start(version, log, hard)
            try:
                await self._ready(process, version)
            except BaseException:
                await process.kill()
                raise
        return _Server(version, process, time.monotonic())

    async def _ready(self, process: Process, version: Version) -> None:
        """Wait until it is. Raises _Failed."""
        come_at, come = time.monotonic(), -1
        while not process.exit.done():
            weights = await self._weighed(version)
            if weights is not None and weights[0] != come:
                come_at, come = time.monotonic(), weights[0]
                self._weights = weights
            if process.listening.is_set():
                status, reason = await asyncio.to_thread(ask, process.port, "/health/live")
                if status == 503:
                    raise _Failed(
                        reason.rstrip(".") or "it is not live", own=await self._all_here(version)
                    )
                status, waits = await asyncio.to_thread(ask, process.port, "/health/ready")
                if status == 200:
                    await self._examined(process, version)
                    return
                if not self._serving:
                    self._note = waits
            if too_much := self._too_much(process):
                raise _Failed(too_much, own=True)
            if time.monotonic() - come_at > self._pace.arrival:
                waited = f"it was not ready {self._pace.arrival:.0f} s after the last of its bytes"
                raise _Failed(waited, own=await self._all_here(version))
            await asyncio.wait({process.exit}, timeout=0.1)
        raise _Failed(process.exit.result().rstrip("."), own=await self._all_here(version))

    async def _examined(self, process: Process, version: Version) -> None:
        """Raises _Failed where another program's server fails the golden picture."""
        examine = self._making.examine
        try:
            wrong = await asyncio.to_thread(examine, version, process.port) if examine else ""
        except NotHere as error:
            raise _Failed(error.message.rstrip("."), own=False) from None
        if wrong:
            raise _Failed(wrong, own=await self._all_here(version))

    async def _weighed(self, version: Version) -> tuple[int, int] | None:
        try:
            return await self._weighing.run(
                functools.partial(present, *version.packages), _MOUNT_PATIENCE
            )
        except (TimeoutError, OSError):
            return None

    async def _all_here(self, version: Version) -> bool:
        """A failure is the version's own only where all of its bytes are on the box."""
        weights = await self._weighed(version)
        return weights is not None and weights[0] >= weights[1]
