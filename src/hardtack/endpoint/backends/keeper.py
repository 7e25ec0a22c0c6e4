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
from pathlib import Path

from hardtack.core.backoff import Backoff
from hardtack.core.errors import EndpointError, in_words
from hardtack.endpoint.backends import record, versions
from hardtack.endpoint.backends.aside import Aside
from hardtack.endpoint.backends.asking import ask
from hardtack.endpoint.backends.starting import (
    MOUNT_PATIENCE,
    Failed,
    Making,
    Pace,
    Server,
    Starter,
    too_much,
)
from hardtack.endpoint.backends.versions import Seen, Version
from hardtack.endpoint.servers import Address, State

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=0.5, cap=30.0)
_CRASHES = 3
_SILENT = 3


class Keeper:
    def __init__(self, detector: str, models: Path, making: Making, pace: Pace) -> None:
        self.detector = detector
        self._directory = models / detector
        self._making = making
        self._pace = pace
        self._looking: Aside[Seen] = Aside()
        self._record_path = making.records / f"{detector}.json"
        self._record = record.read(self._record_path)
        self._seen = Seen()
        self._look_at = 0.0
        self._delays = _BACKOFF.delays()
        self._not_before = 0.0
        self._serving: Server | None = None
        self._before: Server | None = None
        self._starter = Starter(making, pace, making.logs / f"{detector}.log", self._starts)
        self._trying: asyncio.Task[Server] | None = None
        self._tried: Version | None = None
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
                self._starter.weights if self._trying else None, self._refused_labels(),
            )  # fmt: skip
        label = self._tried.label if self._tried else ""
        note = f"{self._note} {refused}".strip()
        return State(
            self._phase, label, note, self._restarts, self._starter.weights, self._refused_labels()
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
            self._tried = chosen
            self._trying = asyncio.create_task(self._starter.server(chosen))
        elif self._serving is None:
            self._phase, self._note, self._tried = "absent", self._seen.problem, None
            self._not_before = now + min(self._pace.refresh, 5.0)

    def _starts(self, phase: str, note: str) -> None:
        """How a version's start goes on: of interest where nothing serves meanwhile."""
        if not self._serving:
            self._phase, self._note = phase, note

    async def _look(self) -> None:
        try:
            self._seen = await self._looking.run(
                functools.partial(versions.look, self._directory), MOUNT_PATIENCE
            )
        except TimeoutError:
            self._seen = Seen(problem=f"The mount of {self._directory} does not answer.")

    async def _wait(self) -> None:
        """Until something has happened, or may have."""
        watched = {s.process.exit for s in (self._serving, self._before) if s}
        tasks: set[asyncio.Task[str] | asyncio.Task[Server]] = {*watched}
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

    async def _tried_one(self, task: asyncio.Task[Server]) -> None:
        """A version is ready to take over, or it never will be."""
        version, self._trying = self._tried, None
        assert version is not None
        if task.cancelled():
            return
        try:
            server = task.result()
        except (Failed, EndpointError) as error:
            own = isinstance(error, Failed) and error.own
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

    def _ended(self, server: Server) -> None:
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

    async def _watch(self, server: Server) -> None:
        """End a server that hangs or takes more memory than it may."""
        server.reason = too_much(server.process, self._making.memory)
        if not server.reason:
            status, reason = await asyncio.to_thread(ask, server.process.port, "/health/live")
            server.silent = server.silent + 1 if status == 0 else 0
            if status == 503 or server.silent >= _SILENT:
                server.reason = f"it hangs: {reason or 'nobody answers /health/live'}".rstrip(".")
        if server.reason and not server.process.exit.done():
            await server.process.kill()
