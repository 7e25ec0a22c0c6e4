"""Weights are read ahead of the servers that will load them, so that a slow link never rests while
a server starts. On a box that has them all it reads what the servers read next anyway."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from hardtack.core.errors import ConfigError, ModelError
from hardtack.endpoint.detectors import read_detectors
from hardtack.endpoint.edgeconfig import KEPT_CONFIG, read_config
from hardtack.inference import ondisk
from hardtack.inference.package import Package

_log = logging.getLogger(__name__)

_PIECE = 1 << 20


class Warming:
    """One thread that reads the wanted detectors' weights once, in the order of their start."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._wanted: list[str] = []
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def want(self, detectors: Iterable[str]) -> None:
        """Read the weights of those that were not wanted before."""
        with self._lock:
            new = set(detectors) - self._seen
            self._seen |= new
            self._wanted += sorted(new)
            if new and (self._thread is None or not self._thread.is_alive()):
                # A read from a mount that hangs can't be ended: nobody waits for this thread.
                self._thread = threading.Thread(target=self._run, name="warming", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            with self._lock:
                batch, self._wanted = self._wanted, []
            if not batch:
                return
            found = [
                package for detector in batch for package in _packages(self._models / detector)
            ]
            for part in sorted(found, key=_weight):
                self._read(part)

    def _read(self, found: Package) -> None:
        for part in found.weights:
            try:
                with (found.directory / part.file).open("rb", buffering=0) as file:
                    while not self._closed.is_set() and file.read(_PIECE):
                        pass
            except OSError as error:  # the server that needs it says so to people
                _log.info("%s can't be read ahead: %s", found.directory / part.file, error.strerror)


def ahead(models: Path, detectors: Path | None, config: Path | None, state: Path) -> Warming:
    """Begins with the detectors of the file at once, while the endpoint still imports; with none
    where the files can't be read yet, of which those who need them tell."""
    warming = Warming(models)

    def work() -> None:
        try:
            inference = read_config(config, state / KEPT_CONFIG)
            named = read_detectors(detectors, models) if detectors else {}
        except (ConfigError, OSError) as error:
            _log.debug("nothing is read ahead yet: %s", error)
            return
        warming.want(identity for identity in named if inference.of(identity).enabled)

    # As it reads from a mount that may hang, nobody waits for this one either.
    threading.Thread(target=work, name="ahead", daemon=True).start()
    return warming


def _packages(directory: Path) -> list[Package]:
    try:
        return [found for found in ondisk.locate(directory, hashes=False) if found]
    except ModelError:
        return []


def _weight(found: Package) -> int:
    return sum(part.size for part in found.weights)
