"""An endpoint with detectors, run as people run it: for benches."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench.mounts import hardtack
from hardtack.demo.detectors import SAMPLES, Sample, objects

_START = 300.0
_THRESHOLD = 0.5


class Edge:
    """A running endpoint on a port of loopback."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], begun: float) -> None:
        self.port = port
        self.process = process
        self.begun = begun

    def json(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as reply:
            return json.load(reply)

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
        endpoint = psutil.Process(self.process.pid)
        servers = endpoint.children(recursive=True)
        return {"endpoint": pss(endpoint.pid), "servers": sum(pss(s.pid) for s in servers)}


def pss(pid: int) -> float:
    """Proportional set size of a process in MiB; 0 where it ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def write_models(directory: Path, samples: Sequence[Sample] = SAMPLES) -> Path:
    """The samples' packages as they lie in a bucket or on a mount; their parent directory."""
    wanted = {sample.id for sample in samples}
    for key, body in objects().items():
        if key.split("/")[1] in wanted:
            path = directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    return directory / "models"


@contextmanager
def edge(
    work: Path, models: Path, samples: Sequence[Sample] = SAMPLES, *options: str,
    env: Mapping[str, str] | None = None,
) -> Iterator[Edge]:  # fmt: skip
    """An endpoint over `models`, its state kept in `work`; it is not ready yet."""
    detectors = work / "detectors.yaml"
    entries = [
        {"id": s.id, "name": s.name, "query": s.question, "mode": _mode(s),
         "confidence_threshold": _THRESHOLD}
        for s in samples
    ]  # fmt: skip
    detectors.write_text(json.dumps({"detectors": entries}))
    log = work / "endpoint.log"
    begun = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            hardtack("endpoint", "serve", "--models", str(models), "--detectors", str(detectors),
                     "--state", str(work / "state"), "--port", "0", *options),
            stderr=errors, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})},
        )  # fmt: skip
    try:
        yield Edge(_port(process, log), process, begun)
    finally:
        process.terminate()
        process.wait(60)


def _mode(sample: Sample) -> str:
    from hardtack.endpoint.detectors import MODES

    return MODES[sample.task]


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(3000):
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise SystemExit(f"the endpoint did not start:\n{log.read_text()}")
