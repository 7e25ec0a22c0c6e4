"""Inference servers as processes of this box: one for each detector, kept alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import urllib3

from hardtack.core.backoff import Backoff
from hardtack.core.errors import ModelError
from hardtack.endpoint.servers import Address, State
from hardtack.inference import package

_log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("child.py")
_SERVING = re.compile(r"http://127\.0\.0\.1:(\d+)")
_BACKOFF = Backoff(first=0.5, cap=30.0)
_GRACE = 5.0
_LOG_BYTES = 1_000_000


@dataclass(frozen=True)
class Settings:
    """`threads` of each server's runtime and `memory` in bytes that it may take, 0 for no cap;
    `starting`: how many may load at a time; `refresh`: seconds between looks for models;
    `load`: seconds that loading may take."""

    models: Path
    logs: Path
    threads: int = 1
    memory: int = 0
    starting: int = 2
    refresh: float = 60.0
    load: float = 5400.0
    pixels: int = 50_000_000


@dataclass
class _Process:
    process: asyncio.subprocess.Process
    port: int
    reader: asyncio.Task[None]


class _Keeper:
    """Keeps one detector's server alive."""

    def __init__(self, detector: str, settings: Settings, turn: asyncio.Semaphore) -> None:
        self.detector = detector
        self.address: Address | None = None
        self.state = State("waiting")
        self._settings = settings
        self._turn = turn
        self._restarts = 0
        self._task = asyncio.create_task(self._keep(), name=f"server of {detector}")

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.address, self.state = None, State("stopped")

    async def _keep(self) -> None:
        delays = _BACKOFF.delays()
        while True:
            found = await asyncio.to_thread(_find, self._settings.models / self.detector)
            if isinstance(found, str):
                self.state = State("absent", note=found)
                await asyncio.sleep(min(self._settings.refresh, 5.0))
                continue
            note, was_ready = await self._live(found)
            if was_ready:
                delays = _BACKOFF.delays()
            self._restarts += 1
            self.state = State("failed", found.version, note, self._restarts)
            _log.error("The server of %s ended: %s. It is started again.", self.detector, note)
            await asyncio.sleep(next(delays))

    async def _live(self, found: package.Package) -> tuple[str, bool]:
        """One life of the server; why it ended, and whether it had been ready."""
        self.state = State("waiting", found.version, restarts=self._restarts)
        async with contextlib.AsyncExitStack() as stack:
            async with self._turn:
                self.state = State("loading", found.version, restarts=self._restarts)
                server = await stack.enter_async_context(self._spawned())
                stack.callback(self._forget)
                try:
                    async with asyncio.timeout(self._settings.load):
                        failure = await _ready(server)
                except TimeoutError:
                    failure = f"it was not ready within {self._settings.load:.0f} s"
                if failure:
                    return failure, False
            self.address = Address("127.0.0.1", server.port, found.version)
            self.state = State("ready", found.version, restarts=self._restarts)
            _log.info("%s is ready, version %s", self.detector, found.version)
            return f"exit code {await server.process.wait()}", True

    def _forget(self) -> None:
        self.address = None

    @contextlib.asynccontextmanager
    async def _spawned(self) -> AsyncIterator[_Process]:
        settings = self._settings
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), str(settings.memory),
            sys.executable, "-m", "hardtack", "inference", "serve",
            "--model", str(settings.models / self.detector), "--name", self.detector,
            "--port", "0", "--threads", str(settings.threads),
            "--max-pixels", str(settings.pixels),
            env=environment(settings.models, settings.threads),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def look(line: str) -> None:
            if not port.done() and (match := _SERVING.search(line)):
                port.set_result(int(match[1]))

        assert process.stderr is not None
        log = settings.logs / f"{self.detector}.log"
        reader = asyncio.create_task(_copy(process.stderr, log, look))
        try:
            ended = asyncio.create_task(process.wait())
            await asyncio.wait({port, ended}, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            yield _Process(process, port.result() if port.done() else 0, reader)
        finally:
            await _end(process)
            await reader


class Processes:
    """The process backend."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keepers: dict[str, _Keeper] = {}
        self._wanted: frozenset[str] = frozenset()
        self._turn = asyncio.Semaphore(settings.starting)
        self._started = False
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._settings.logs.mkdir(parents=True, exist_ok=True)
        self._started = True
        self._reconcile()

    async def close(self) -> None:
        self._wanted = frozenset()
        self._reconcile()
        await asyncio.gather(*self._closing)

    def want(self, detectors: frozenset[str]) -> None:
        self._wanted = detectors
        if self._started:
            self._reconcile()

    def address(self, detector: str) -> Address | None:
        keeper = self._keepers.get(detector)
        return keeper.address if keeper else None

    def state(self, detector: str) -> State:
        keeper = self._keepers.get(detector)
        return keeper.state if keeper else State("stopped")

    def _reconcile(self) -> None:
        for detector in set(self._keepers) - self._wanted:
            task = asyncio.create_task(self._keepers.pop(detector).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        # Smallest first: over a slow link most detectors are up soonest.
        for detector in sorted(self._wanted - set(self._keepers), key=self._size):
            self._keepers[detector] = _Keeper(detector, self._settings, self._turn)

    def _size(self, detector: str) -> tuple[int, str]:
        found = _find(self._settings.models / detector)
        return (0 if isinstance(found, str) else weight(found), detector)


def weight(found: package.Package) -> int:
    """Bytes of a package's weights."""
    return sum(part.size for part in found.weights)


def environment(models: Path, threads: int) -> dict[str, str]:
    """A server's environment: nothing is looked for outside the box, and threads are capped."""
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_CACHE": str(models / "pretrained-weights/hf-hub"),
        "TORCH_HOME": str(models / "pretrained-weights/torch-home"),
    }
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS") if threads else ()
    return {**os.environ, **offline, **dict.fromkeys(names, str(threads))}


def _find(directory: Path) -> package.Package | str:
    """The newest whole package of a detector, or why there is none."""
    try:
        return package.locate(directory, hashes=False)[0]
    except ModelError as error:
        return error.message


async def _ready(server: _Process) -> str:
    """Waits until the server is ready; why it never will be, or nothing."""
    if not server.port:
        return f"exit code {await server.process.wait()}; its log says why"
    while server.process.returncode is None:
        live = await asyncio.to_thread(_status, server.port, "/health/live")
        if live == 503:
            return "its model can't be loaded; its log says why"
        if await asyncio.to_thread(_status, server.port, "/health/ready") == 200:
            return ""
        await asyncio.sleep(0.1)
    return f"exit code {server.process.returncode}; its log says why"


def _status(port: int, path: str) -> int:
    """The status of a GET; 0 where nobody answers."""
    try:
        url = f"http://127.0.0.1:{port}{path}"
        return urllib3.request("GET", url, timeout=2, retries=False).status
    except urllib3.exceptions.HTTPError:
        return 0


async def _copy(stream: asyncio.StreamReader, path: Path, look: Callable[[str], None]) -> None:
    """Keep what a server says, the last megabyte or two."""
    while line := await _line(stream):
        look(line.decode(errors="replace"))
        with path.open("ab") as log:
            log.write(line)
            full = log.tell() > _LOG_BYTES
        if full:
            path.replace(path.with_suffix(".log.1"))


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # a line longer than the buffer: what there is of it
        return await stream.read(65536)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, and make it."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
