"""An endpoint with detectors, as the tests run it, with what benches measure of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from tests.support.endpoints import Endpoint, endpoint, write_detectors

from hardtack.demo.detectors import SAMPLES, Sample

_START = 300.0


class Edge:
    """A running endpoint on a port of loopback."""

    def __init__(self, running: Endpoint, begun: float) -> None:
        self.port = int(running.url.rpartition(":")[2])
        self.begun = begun
        self._running = running

    def json(self, path: str) -> Any:
        return self._running.json(path)

    def wait_ready(self) -> float:
        """Seconds from the start of the process until every detector answered."""
        while True:
            waiting = [
                d for d, s in self.json("/edge-detector-readiness").items() if not s["ready"]
            ]
            took = time.monotonic() - self.begun
            if not waiting:
                return took
            if took > _START:
                raise SystemExit(f"not ready: {self.json('/status/metrics.json')['detectors']}")
            time.sleep(0.02)

    def memory(self) -> dict[str, float]:
        """PSS in MiB of the endpoint and of each server below it."""
        process = psutil.Process(self._running.process.pid)
        servers = process.children(recursive=True)
        return {"endpoint": pss(process.pid), "servers": sum(pss(s.pid) for s in servers)}


def pss(pid: int) -> float:
    """Proportional set size of a process in MiB; 0 where it ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


@contextmanager
def edge(
    work: Path, models: Path, samples: Sequence[Sample] = SAMPLES, *options: str,
    env: Mapping[str, str] | None = None,
) -> Iterator[Edge]:  # fmt: skip
    """An endpoint over `models`, its state kept in `work`; it is not ready yet."""
    # With their modes, it needs no look at models that a mount has yet to fetch.
    detectors = write_detectors(work / "detectors.yaml", samples, modes=True)
    begun = time.monotonic()
    with endpoint(work, models, detectors, *options, env=env, ready=False) as running:
        yield Edge(running, begun)
