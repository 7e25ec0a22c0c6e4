"""Inference servers as processes of this box."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.endpoint.backends import versions
from hardtack.endpoint.backends.aside import Aside
from hardtack.endpoint.backends.examined import examine
from hardtack.endpoint.backends.keeper import Keeper
from hardtack.endpoint.backends.process import Command, Process
from hardtack.endpoint.backends.starting import Making, Pace
from hardtack.endpoint.backends.telling import describing, environment, serving
from hardtack.endpoint.backends.turns import Turns
from hardtack.endpoint.backends.versions import Version
from hardtack.endpoint.backends.zygote import Zygote
from hardtack.endpoint.servers import Address, State

_PATIENCE = 10.0


@dataclass(frozen=True)
class Settings:
    """`threads` of each server's runtime and `memory` in bytes that it may take, 0 for no cap;
    `starting`: how many may load at a time; `answer`: seconds after which a picture's run counts
    as hung; `programs`: detector → the command that serves it in place of our own server;
    `window`: seconds that a picture waits for others to be run with it; `flavor`: what the models
    run on, cpu, gpu or jetson."""

    models: Path
    state: Path
    threads: int = 1
    memory: int = 0
    starting: int = 2
    pixels: int = 50_000_000
    answer: float = 30.0
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    window: float = 0.0
    flavor: str = "cpu"


class Processes:
    """The process backend. `zygote`: one with the servers' environment, that may be on its way."""

    def __init__(self, settings: Settings, zygote: Zygote | None = None) -> None:
        self._settings = settings
        self._zygote = zygote or Zygote(environment(settings.models, settings.threads))
        self._keepers: dict[str, Keeper] = {}
        self._wanted: frozenset[str] = frozenset()
        # Those that wait for the link don't keep those that needn't.
        self._turns = {here: Turns(settings.starting) for here in (True, False)}
        self._logs = settings.state / "logs"
        self._started = False
        self._closing: set[asyncio.Task[None]] = set()
        self._sorting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._started = True
        await self._reconcile()

    async def close(self) -> None:
        self._wanted = frozenset()
        if self._sorting:
            await asyncio.wait({self._sorting})
        await self._reconcile()
        await asyncio.gather(*self._closing)
        self._zygote.close()
        self._started = False

    def want(self, detectors: frozenset[str]) -> None:
        self._wanted = detectors
        if self._started and (self._sorting is None or self._sorting.done()):
            self._sorting = asyncio.create_task(self._reconcile())

    def address(self, detector: str) -> Address | None:
        keeper = self._keepers.get(detector)
        return keeper.address if keeper else None

    def state(self, detector: str) -> State:
        keeper = self._keepers.get(detector)
        return keeper.state if keeper else State("stopped")

    async def _reconcile(self) -> None:
        while set(self._keepers) != self._wanted:
            for detector in set(self._keepers) - self._wanted:
                task = asyncio.create_task(self._keepers.pop(detector).close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
            new = self._wanted - set(self._keepers)
            sizes = await _weighed(self._settings.models, new) if new else {}
            # So that the smallest are the first to ask for a turn as well.
            for detector in sorted(new & self._wanted, key=lambda d: (sizes.get(d, 0), d)):
                self._keepers[detector] = self._keeper(detector)

    def _keeper(self, detector: str) -> Keeper:
        settings = self._settings
        making = Making(
            functools.partial(self._start, detector),
            settings.memory, self._logs, settings.state / "versions",
            lambda version: self._turns[version.arrived].one(version.size),
            (lambda version, port: examine(detector, version, port, settings.answer))
            if detector in settings.programs
            else None,
        )  # fmt: skip
        return Keeper(detector, settings.models, making, settings.pace)

    async def _start(self, detector: str, version: Version, log: Path, memory: int) -> Process:
        """Raises EndpointError."""
        settings = self._settings
        if program := settings.programs.get(detector):
            told = describing(detector, version)
            own = environment(settings.models, settings.threads)
            return await Process.start(Command(program, own | told), log, memory)
        own_words = serving(detector, version, settings.threads, settings.window, settings.flavor)
        words = [
            "inference", "serve", *own_words,
            "--port", "0", "--max-pixels", str(settings.pixels),
            "--answer-time", f"{settings.answer:g}s",
            "--arrival-time", f"{settings.pace.arrival:g}s",
        ]  # fmt: skip
        return Process(await self._zygote.fork(words, memory), log)


async def _weighed(models: Path, detectors: frozenset[str]) -> dict[str, int]:
    """The size of each detector's model, as far as the mount says within a while."""
    sizes: dict[str, int] = {}

    def work() -> None:
        for detector in sorted(detectors):
            whole = versions.look(models / detector).whole
            sizes[detector] = whole[0].size if whole else 0

    try:
        await Aside[None]().run(work, _PATIENCE)
    except TimeoutError:
        return dict(sizes)
    return sizes
