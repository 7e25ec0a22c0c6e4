"""A cloud that the SDK and the endpoint can talk to, and that can be told to misbehave."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

UNKNOWN = "det_" + "C" * 27
"""A detector that the cloud alone knows."""


def _result(confidence: bytes) -> bytes:
    head = b'{"id": "iq_%b", "detector_id": "det_%b", ' % (b"1" * 27, b"1" * 27)
    return head + b'"result": {"confidence": %b}}' % confidence


OTHER = {
    "a list": b"[]",
    "an object": b"{}",
    "no result": b'{"id": "iq_%b", "detector_id": "det_%b"}' % (b"1" * 27, b"1" * 27),
    "a result of text": b'{"id": "iq_%b", "detector_id": "det_%b", "result": "YES"}'
    % (b"1" * 27, b"1" * 27),
    "a confidence of text": _result(b'"high"'),
    "a confidence over 1": _result(b"17"),
    "a confidence that is no number": _result(b"NaN"),
    "half a character": _result(b'0.5, "label": "\\ud800"'),
    "nested too deeply": b"[" * 100_000,
}
"""Modes: JSON that is no image query."""


@dataclass
class Cloud:
    """`mode`: ok, hang, trickle, 500, redirect, nonsense, 401, or of `OTHER`. `received`: the
    parameters of each image query that it took, by id; `posts` counts all that came. A picture
    among `fatal` is answered 500. While `undecided` its people have yet to look."""

    port: int = 0
    address: str = "127.0.0.1"
    scheme: str = "http"
    mode: str = "ok"
    received: dict[str, dict[str, str]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    posts: int = 0
    undecided: bool = False
    fatal: set[bytes] = field(default_factory=set)
    detectors: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {UNKNOWN: detector(UNKNOWN)}
    )
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}:{self.port}"

    def image_query(self, identity: str) -> dict[str, Any]:
        asked = self.received[identity]
        known = {
            "id": identity, "type": "image_query", "created_at": "2026-01-01T00:00:00Z",
            "query": "?", "detector_id": asked["detector_id"],
            "result_type": "binary_classification",
            "result": {"confidence": 0.99, "label": "YES", "source": "HUMAN", "from_edge": False,
                       "result_type": "binary_classification"},
            "patience_time": 30.0, "confidence_threshold": 0.9, "rois": None, "text": None,
            "metadata": None, "done_processing": True,
        }  # fmt: skip
        return known | ({"result": None, "done_processing": False} if self.undecided else {})

    def wait_for(self, count: int, seconds: float = 30) -> None:
        """Return when `count` image queries have come. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.received)} of {count} image queries came")
            time.sleep(0.02)


def detector(identity: str) -> dict[str, Any]:
    return {
        "id": identity, "type": "detector", "created_at": "2026-01-01T00:00:00Z",
        "name": "of the cloud", "query": "Is it?", "group_name": "g", "metadata": None,
        "mode": "BINARY", "mode_configuration": None, "confidence_threshold": 0.75,
        "patience_time": 30.0,
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloud: Cloud

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            self._answer(b"".join(pieces))
            return
        self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

    do_PUT = do_PATCH = do_DELETE = do_POST

    def _answer(self, body: bytes) -> None:
        cloud = self.cloud
        parts = urlsplit(self.path)
        cloud.asked.append(f"{self.command} {parts.path}")
        cloud.tokens.append(self.headers.get("x-api-token", ""))
        posted = self.command == "POST" and parts.path.endswith("/image-queries")
        cloud.posts += posted
        if cloud.mode == "hang":
            cloud.released.wait(30)
            self.close_connection = True
            return
        if cloud.mode == "redirect":
            self._send(302, b"", location="http://127.0.0.1:1/elsewhere")
        elif cloud.mode == "nonsense":
            self._send(200, b"<html>hotel login</html>")
        elif cloud.mode in OTHER:
            self._send(200, OTHER[cloud.mode])
        elif cloud.mode == "trickle":
            self._trickle()
        elif cloud.mode.isdecimal() or (posted and body in cloud.fatal):
            status = int(cloud.mode) if cloud.mode.isdecimal() else 500
            self._send(status, b'{"detail": "as told"}')
        else:
            self._send(*self._found(parts.path, dict(parse_qsl(parts.query)), body, posted))

    def _trickle(self) -> None:
        """A reply that comes for ever."""
        self.send_response(200)
        self.send_header("content-length", "1000000")
        self.end_headers()
        while not self.cloud.released.wait(0.05):
            self.wfile.write(b" ")
        self.close_connection = True

    def _found(
        self, path: str, query: dict[str, str], body: bytes, posted: bool
    ) -> tuple[int, bytes]:
        cloud = self.cloud
        if posted:
            identity = query["image_query_id"]
            if identity not in cloud.received:
                cloud.order.append(identity)
            cloud.received[identity] = query
            cloud.pictures[identity] = body
            return 201, json.dumps(cloud.image_query(identity)).encode()
        name = path.rpartition("/")[2]
        if name in cloud.received:
            return 200, json.dumps(cloud.image_query(name)).encode()
        if name in cloud.detectors:
            return self._detector(name, body)
        if path.endswith("/echo"):
            return 200, json.dumps({"method": self.command, "body": len(body)}).encode()
        return (200, b"{}") if path.endswith("/me") else (404, b'{"detail": "not here"}')

    def _detector(self, identity: str, body: bytes) -> tuple[int, bytes]:
        detectors = self.cloud.detectors
        if self.command == "DELETE":
            del detectors[identity]
            return 204, b""
        if self.command == "PATCH":
            detectors[identity] |= json.loads(body)
        return 200, json.dumps(detectors[identity]).encode()

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that hang up are expected."""


@contextmanager
def running(cloud: Cloud, context: ssl.SSLContext | None = None) -> Iterator[Cloud]:
    """`cloud` listening at its address, again on its port when it has one."""
    handler = type("Handler", (_Handler,), {"cloud": cloud})
    server = _Server((cloud.address, cloud.port), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        cloud.scheme = "https"
    cloud.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        cloud.released.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
