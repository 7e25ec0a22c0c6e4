"""The worker: `python -m hardtack.mount.worker RUNFILE FUSE_FD MEMORY_FD LIFE_FD`.

Opens the cache, takes over the connection that the keeper holds, answers. It can be killed at any
moment: what must outlive it lies in the shared memory and on disk. SIGTERM: answer what is under
way, then end.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import signal
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardtack import __version__
from hardtack.cache.api import Options
from hardtack.core import logs
from hardtack.core.errors import HardtackError
from hardtack.mount import device, keeper, wire
from hardtack.mount.filesystem import (
    ENTRY_VALID,
    ENTRY_VALID_OLD,
    FileSystem,
    Notifier,
)
from hardtack.mount.handles import Handles
from hardtack.mount.look import Look
from hardtack.mount.mountinfo import mounted_at
from hardtack.mount.session import Session
from hardtack.mount.shared import Shared

if TYPE_CHECKING:
    from hardtack.cache.cache import Cache

log = logging.getLogger("hardtack.mount.worker")  # run as a program its name is `__main__`

DRAIN = 8.0
"""Seconds for the answers under way, below the keeper's grace."""
READ_AHEAD_KIB = 4096
_PROBE_FETCHING = 16
"""Files being fetched that the synthetic file names; it is read in one piece of 64 KiB."""


def open_cache(run: dict[str, Any]) -> Cache:
    """The cache and source that a run file names. Raises HardtackError's kinds."""
    from hardtack.cache.cache import Cache
    from hardtack.source.open import open_source
    from hardtack.source.options import SourceOptions

    source = open_source(run["source"], SourceOptions(**run["source_options"]))
    options = Options(**run["cache_options"])
    purpose = f"mount {run['mountpoint']}"
    return Cache.open(Path(run["cache"]), source, options, purpose=purpose)


def _opener(run: dict[str, Any]) -> Any:
    """The function that opens the cache: `open_cache`, or the one that the run file names."""
    module, _, name = run.get("opener", f"{__name__}:open_cache").partition(":")
    return getattr(importlib.import_module(module), name)


def _list_anew(cache: Cache) -> None:
    """Where the listing was lost under a mount its readers wait, rather than find nothing there."""
    if not cache.has_listing():
        try:
            cache.refresh()
        except HardtackError as problem:
            log.warning("nothing is shown until the source is listed: %s", problem)


class Worker:
    """One life of a worker, from open to drain."""

    def __init__(self, run: dict[str, Any], fuse: int, shared: Shared) -> None:
        self._run = run
        self._fuse = fuse
        self._shared = shared
        self._leaving = threading.Event()

    def serve(self) -> int:
        """Answer until the connection or the worker is to end; the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._leaving.set())
        run = self._run
        cache = _opener(run)(run)
        _list_anew(cache)
        session = Session(self._fuse, self._shared)
        session.negotiate()
        if session.ended.is_set():
            cache.close()
            return keeper.CONNECTION_ENDED
        self._raise_read_ahead()
        passthrough = bool(session.flags & wire.Init.PASSTHROUGH) and os.geteuid() == 0
        handles = Handles(self._shared, self._fuse, passthrough=passthrough)
        filesystem = FileSystem(
            cache,
            handles,
            session,
            Look(**run["look"]),
            lambda: self._probe(cache),
            run["cache_options"].get("follow", "").partition("release ")[2],
            ENTRY_VALID if session.minor >= 44 else ENTRY_VALID_OLD,
        )
        cache.on_invalidate(Notifier(session.notify))
        control = self._start_control(cache)
        session.serve(filesystem)
        cache.start()
        os.kill(os.getppid(), signal.SIGUSR1)
        self._start_metrics(cache)
        how = "took over" if session.resumed else "serves"
        log.info("%s %s at %s", how, run["source"], run["mountpoint"])
        while not session.ended.is_set() and not self._leaving.wait(0.2):
            pass
        if control is not None:
            control.close()
        if not session.ended.is_set() and not session.drain(DRAIN):
            log.warning("some reads were not answered in %.0f s; the next worker does it", DRAIN)
        cache.source.close()  # first: what waits for the network would hold up the cache's end
        cache.close()
        return keeper.CONNECTION_ENDED if session.ended.is_set() else 0

    def _raise_read_ahead(self) -> None:
        for mounted in mounted_at(self._run["mountpoint"])[-1:]:
            device.raise_read_ahead(mounted.device, READ_AHEAD_KIB)

    def _probe(self, cache: Cache) -> bytes:
        status = cache.status()
        document = {
            "version": __version__,
            "worker": os.getpid(),
            "keeper": os.getppid(),
            "source": self._run["source"],
            "cache": self._run["cache"],
            "run": self._run["run"],
            "generation": status.generation,
            "status": asdict(replace(status, fetching=status.fetching[:_PROBE_FETCHING])),
        }
        return json.dumps(document).encode() + b"\n"

    def _start_control(self, cache: Cache) -> Any:
        from hardtack.mount.control import Server

        try:
            return Server(cache, Path(self._run["cache"]))
        except OSError as problem:
            log.error("no control socket, commands can't ask this mount: %s", problem)
            return None

    def _start_metrics(self, cache: Cache) -> None:
        """A port that is taken costs the metrics, not the mount."""
        if not self._run["metrics"]:
            return
        from hardtack.mount.metrics import serve

        try:
            serve(cache, self._run["metrics"])
        except (OSError, HardtackError) as problem:
            log.error("no metrics on %s: %s", self._run["metrics"], problem)


def _die_with_keeper(life: int) -> None:
    os.read(life, 1)  # end of file: nobody holds the other end any more
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Serve; the exit code that the keeper acts on."""
    run = json.loads(Path(arguments[0]).read_text()) | {"run": arguments[0]}
    fuse, memory, life = map(int, arguments[1:])
    for fd in (fuse, memory, life):
        os.set_inheritable(fd, False)
    threading.Thread(target=_die_with_keeper, args=(life,), daemon=True).start()
    logs.configure(run["log_level"], run["log_format"])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return Worker(run, fuse, Shared(memory)).serve()
    except HardtackError as problem:
        log.error("%s", problem)
        return problem.exit_code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # a thread may wait in a read of the device for ever
