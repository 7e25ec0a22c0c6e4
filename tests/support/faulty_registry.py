"""A registry in memory that misbehaves as told."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support import oci


@dataclass
class Reply:
    """What is sent: `cut` ends the connection after so many bytes of the body, `reset` does so
    without a farewell (RST)."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    reset: bool = False


@dataclass
class Seen:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes = b""


Fault = Callable[[Seen, int], Reply | None]


class FaultyRegistry:
    """Serves what was `add`ed; `fault(request, how many for that path)` may answer first."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Seen] = []
        self.sent = 0
        self.fault: Fault = lambda seen, count: None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        if tls is not None:  # the handshake in the handler's thread: it may fail
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def add(self, tag: str, image: oci.Image) -> None:
        self.manifests[tag] = self.manifests[image.digest] = (image.manifest, image.media_type)
        self.blobs |= image.blobs

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.requests.append(seen)
            count = sum(r.path == seen.path for r in self.requests)
        if (reply := self.fault(seen, count)) is not None:
            return reply
        name = seen.path.split("?")[0].rpartition("/")[2]
        if "/manifests/" in seen.path and name in self.manifests:
            raw, media_type = self.manifests[name]
            return Reply(200, {"Content-Type": media_type}, raw)
        if "/blobs/" in seen.path and name in self.blobs:
            return self.blob(self.blobs[name], seen)
        return Reply(404)

    def blob(self, data: bytes, seen: Seen) -> Reply:
        span = seen.headers.get("range", "").removeprefix("bytes=")
        if not span:
            return Reply(200, {}, data)
        start, stop = (int(n) for n in span.split("-"))
        return Reply(
            206, {"Content-Range": f"bytes {start}-{stop}/{len(data)}"}, data[start : stop + 1]
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(registry: FaultyRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen = Seen(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            reply = registry.answer(seen)
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            sent = reply.body if reply.cut is None else reply.body[: reply.cut]
            self.wfile.write(sent)
            registry.sent += len(sent)
            if reply.cut is not None:
                self.close_connection = True
            if reply.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        do_POST = do_GET

        def handle(self) -> None:
            try:
                super().handle()
            except ssl.SSLError:
                return  # the client refuses our certificate

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


@contextmanager
def faulty_registry(tls: ssl.SSLContext | None = None) -> Iterator[FaultyRegistry]:
    server = FaultyRegistry(tls)
    try:
        yield server
    finally:
        server.close()
