"""An endpoint, run as people run it: a process of its own, spoken to over loopback."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

from hardtack.demo.detectors import SAMPLES, Sample, objects
from hardtack.endpoint.detectors import MODES
from tests.support.commands import HARDTACK, clean_environment

_THRESHOLD = 0.5


def write_models(directory: Path, samples: Sequence[Sample] = SAMPLES) -> Path:
    """The packages of `samples`, as they lie on a mount."""
    wanted = {sample.id for sample in samples}
    for key, body in objects().items():
        if key.split("/")[1] in wanted:
            path = directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
    return directory / "models"


def write_detectors(
    path: Path, samples: Sequence[Sample] = SAMPLES, *, modes: bool = False
) -> Path:
    """The file that names `samples`; with their `modes`, or as their models have them."""
    entries = [
        {"id": s.id, "name": s.name, "query": s.question, "confidence_threshold": _THRESHOLD}
        | ({"mode": MODES[s.task]} if modes else {})
        for s in samples
    ]
    path.write_text(json.dumps({"detectors": entries}))
    return path


class Endpoint:
    """`url` is its plain address; `secure` that of HTTPS, where it was told to."""

    def __init__(self, urls: Sequence[str], process: subprocess.Popen[str], log: Path) -> None:
        self.url = urls[-1]
        self.secure = urls[0]
        self.process = process
        self.log = log
        self._pool = urllib3.PoolManager(maxsize=16)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method, self.url + path, body=body, headers=headers, retries=False, timeout=30
        )

    def json(self, path: str) -> Any:
        return self.ask("GET", path).json()

    def submit(self, sample: Sample, **parameters: str) -> urllib3.BaseHTTPResponse:
        return self.post(sample.id, sample.picture(), **parameters)

    def post(
        self, detector: str, body: bytes, media: str = "image/png", **parameters: str
    ) -> urllib3.BaseHTTPResponse:
        from urllib.parse import urlencode

        query = urlencode({"detector_id": detector, **parameters})
        path = f"/device-api/v1/image-queries?{query}"
        return self.ask("POST", path, body, **{"content-type": media})

    def wait_ready(self, seconds: float = 60) -> None:
        """Return when each detector answers. Raises TimeoutError that says which doesn't."""
        deadline = time.monotonic() + seconds
        while (reply := self.ask("GET", "/health/ready")).status != 200:
            if time.monotonic() > deadline:
                raise TimeoutError(self.json("/status/metrics.json"))
            time.sleep(0.05)
        assert reply.json()["ready"]


@contextmanager
def endpoint(
    directory: Path, models: Path, detectors: Path, *options: str,
    env: Mapping[str, str] | None = None, ready: bool = True,
) -> Iterator[Endpoint]:  # fmt: skip
    """The endpoint on a free port, with its state in `directory`; ended at the end."""
    command = [
        *HARDTACK, "endpoint", "serve", "--models", str(models), "--detectors", str(detectors),
        "--state", str(directory / "state"), "--port", "0", *options,
    ]  # fmt: skip
    log = (directory / "endpoint.log").open("w")
    process = subprocess.Popen(command, env=clean_environment(env), stderr=log, text=True)
    try:
        listeners = 1 + ("--https-port" in options)
        yield_to = Endpoint(_urls(process, Path(log.name), listeners), process, Path(log.name))
        if ready:
            yield_to.wait_ready()
        yield yield_to
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def _urls(process: subprocess.Popen[str], log: Path, count: int) -> list[str]:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        found = re.findall(r"listens on (https?://[\d.]+:\d+)\n", log.read_text())
        if len(found) == count:
            return found
        time.sleep(0.02)
    raise RuntimeError(f"the endpoint did not start:\n{log.read_text()}")
