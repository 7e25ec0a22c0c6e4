"""One inference server as a process: started, listened to, watched, ended."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hardtack.core.errors import EndpointError

_log = logging.getLogger(__name__)

_CHILD = Path(__file__).with_name("child.py")
_SERVING = re.compile(r"http://127\.0\.0\.1:(\d+)")
_GRACE = 5.0
_LOG_BYTES = 1_000_000
_WORDS = 20


@dataclass(frozen=True)
class Command:
    """What to run: a program of somebody else's, which is told its port in `PORT`."""

    words: Sequence[str]
    environment: Mapping[str, str]


class Child(Protocol):
    """A process that was started, as asyncio has it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    stderr: asyncio.StreamReader | None

    async def wait(self) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Process:
    """A server that runs. `port` is 0 until it listens; `exit` ends when it has ended."""

    def __init__(self, process: Child, log: Path, port: int = 0) -> None:
        """`port` where it is known before the process says it."""
        self.pid = process.pid
        self.port = port
        self._process = process
        self._log = log
        self._kept = True
        self._words: collections.deque[str] = collections.deque(maxlen=_WORDS)
        self.listening = asyncio.Event()
        if port:
            self.listening.set()
        self.exit: asyncio.Task[str] = asyncio.create_task(self._follow())

    @classmethod
    async def start(cls, command: Command, log: Path, memory: int) -> Process:
        """Raises EndpointError where it can't be."""
        port = _free_port()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), str(memory),
                *command.words, env={**command.environment, "PORT": str(port)},
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise EndpointError(f"A server can't be started: {error}.") from None
        return cls(process, log, port)

    async def end(self) -> None:
        """Ask it to end, and make it."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await asyncio.wait({self.exit}, timeout=_GRACE)
        await self.kill()

    async def kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await asyncio.wait({self.exit})

    def memory(self) -> int:
        """Bytes that are its own: what a file can't give back. 0 once it has ended."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        found = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", status, re.MULTILINE)
        return 1024 * sum(map(int, found))

    async def _follow(self) -> str:
        """Keep what it says, the last megabyte or two; why it ended."""
        assert self._process.stderr is not None
        while line := await _line(self._process.stderr):
            text = line.decode(errors="replace")
            self._words.append(text.strip())
            if not self.port and (match := _SERVING.search(text)):
                self.port = int(match[1])
                self.listening.set()
            await self._keep(line)
        code = await self._process.wait()
        last = next((word for word in reversed(self._words) if word.startswith("hardtack:")), "")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return last.removeprefix("hardtack: ") or f"{how}; its log {self._log} says more"

    async def _keep(self, line: bytes) -> None:
        """A disk that takes no log costs the log, not the server: it is told once."""
        try:
            await asyncio.to_thread(_write, self._log, line)
            self._kept = True
        except OSError as error:
            if self._kept:
                _log.error("%s can't be written: %s. Its server goes on.", self._log, error)
            self._kept = False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _write(path: Path, line: bytes) -> None:
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
