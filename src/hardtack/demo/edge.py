"""The demo's endpoint: a server for each sample detector, asked as the Groundlight SDK asks."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hardtack.core.errors import EndpointError
from hardtack.demo.detectors import SAMPLES, Sample

_START = 60.0
_THRESHOLD = 0.5


@dataclass(frozen=True)
class Answer:
    """What a detector said of its picture; `from_edge` as the reply has it."""

    detector: str
    question: str
    said: str
    confidence: float
    from_edge: bool


class Edge:
    """`hardtack endpoint serve` over `models`, with its state in `directory`."""

    def __init__(self, directory: Path, models: Path) -> None:
        self.url = ""
        self._directory = directory
        self._models = models
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Returns when every detector is ready. Raises EndpointError."""
        self._directory.mkdir(exist_ok=True)
        detectors, log = self._directory / "detectors.yaml", self._directory / "endpoint.log"
        detectors.write_text(json.dumps({"detectors": [_entry(sample) for sample in SAMPLES]}))
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "hardtack", "endpoint", "serve",
                    "--models", str(self._models), "--detectors", str(detectors),
                    "--state", str(self._directory / "state"), "--port", "0",
                ],
                stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
        waiting: Any = "its port"
        deadline = time.monotonic() + _START
        while waiting and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            if found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text()):
                self.url = found[0]
                waiting = self._ask("GET", "/health/ready")["waiting"]
        if waiting:
            raise EndpointError(f"The endpoint waits for {waiting}:\n{log.read_text()}")

    def stop(self) -> None:
        """End it, and with it its servers."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def answers(self) -> Iterator[Answer]:
        """Each sample detector's answer. Raises EndpointError where the picture shows another."""
        for sample in SAMPLES:
            path = f"/device-api/v1/image-queries?detector_id={sample.id}"
            query = self._ask("POST", path, sample.picture())
            found, result = _said(sample, query), query["result"]
            if found != sample.shows or result["from_edge"] is not True:
                raise EndpointError(
                    f"The picture of {sample.name} shows {sample.shows!r}; the box says {found!r}."
                )
            said = " ".join(str(found).splitlines())
            yield Answer(sample.name, sample.question, said, result["confidence"], True)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        connection = http.client.HTTPConnection(str(urlsplit(self.url).netloc), timeout=30)
        with contextlib.closing(connection):
            headers = {"content-type": "image/png"} if body else {}
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            told = reply.read()
        if body and reply.status != 200:
            raise EndpointError(f"The endpoint answers {reply.status}: {told.decode()[:200]}")
        return json.loads(told)


def _entry(sample: Sample) -> dict[str, Any]:
    """The sample's lines in the file of detectors."""
    return {
        "id": sample.id, "name": sample.name, "query": sample.question,
        "confidence_threshold": _THRESHOLD,
    }  # fmt: skip


def _said(sample: Sample, query: dict[str, Any]) -> str | int:
    """What an image query says, as `Sample.shows` has it."""
    found: str | int
    if sample.task == "boxes":
        found = len(query["rois"])
    else:
        result = query["result"]
        found = next(result[name] for name in ("label", "count", "text") if name in result)
    return found
