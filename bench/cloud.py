"""`python -m bench.cloud HOST`: a cloud at the far end of a link. It takes image queries, says
YES to each, and tells at `/received` what it was told. Its port is its first line.

As a cloud does, it counts an id once, and answers 409 where it is told of it again. What an image
query is about is told by `number` in its metadata, so that one delivered under two ids shows."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

from bench.link import Link


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock: ClassVar[threading.Lock] = threading.Lock()
    told: ClassVar[Counter[str]] = Counter()
    counted: ClassVar[Counter[str]] = Counter()

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        told = {"told": self.told.total(), "counted": dict(self.counted)}
        self._send(200, told if self.path == "/received" else {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        asked = dict(parse_qsl(urlsplit(self.path).query))
        with self.lock:
            self.told[asked["image_query_id"]] += 1
            again = self.told[asked["image_query_id"]] > 1  # its reply was lost
            if not again:
                self.counted[_number(asked)] += 1
        if again:
            self._send(409, {"detail": "known"})
            return
        result = {"confidence": 0.99, "label": "YES", "source": "HUMAN", "from_edge": False}
        head = {"id": asked["image_query_id"], "detector_id": asked["detector_id"]}
        self._send(201, {**head, "result": result, "metadata": None, "done_processing": True})

    def _send(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _number(asked: dict[str, str]) -> str:
    metadata = (
        json.loads(base64.urlsafe_b64decode(asked["metadata"])) if "metadata" in asked else {}
    )
    return str(metadata.get("number", ""))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers whose cable is cut are expected."""


@contextmanager
def cloud(link: Link) -> Iterator[str]:
    """Its address, while it runs at the far end."""
    process = subprocess.Popen(
        link.inside([sys.executable, "-m", "bench.cloud", link.there]), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield f"http://{link.there}:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Received:
    """Deliveries, and how often the image query of each `number` was counted."""

    told: int
    counted: dict[str, int]


def received(url: str) -> Received:
    """What the cloud was told so far."""
    with urllib.request.urlopen(url + "/received", timeout=30) as reply:
        found = json.load(reply)
    return Received(found["told"], found["counted"])


def main() -> None:
    server = _Server((sys.argv[1], 0), _Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
