"""Examines another program's server that runs beside it in a pod, and says whether it passed.

Who listens on the program's port is read from the kernel, so that a program that was started again
is known as another one, and is examined again before anybody else may ask it.
"""

from __future__ import annotations

import http
import http.server
import json
import logging
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from hardtack.core.errors import ModelError
from hardtack.endpoint.backends.asking import ask
from hardtack.endpoint.backends.examined import examine
from hardtack.endpoint.backends.versions import Version
from hardtack.inference import ondisk
from hardtack.inference.ondisk import NotHere

_log = logging.getLogger(__name__)

_PAUSE = 0.5
_PATIENCE = 5.0
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"
"""A socket's state in these tables."""


@dataclass(frozen=True)
class Wanted:
    """The server on `port` of this machine is to serve the model in `directory`, as `name`, with
    the out-of-distribution model in `outliers` where it isn't the directory's own; `patience`:
    seconds that the answer to its golden picture may take."""

    name: str
    directory: Path
    port: int
    outliers: Path | None = None
    patience: float = 30.0


class Examining:
    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._reason = "It begins."
        self._passed: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._anew = threading.Event()

    def why_not(self) -> str:
        """Why nobody may ask the server now; empty where it has passed. Thread-safe."""
        with self._lock:
            if self._passed:
                # Of several that share the port one may be followed by another.
                now = listening(self._wanted.port)
                self._passed = now if now & self._passed else frozenset()
                if not self._passed:
                    self._reason = "The server ended, or was started again."
                    self._anew.set()
            return self._reason

    def run(self) -> None:
        """Examine whatever comes to listen, for ever. Raises ModelError where it fails."""
        version = self._opened()
        if version.primary.golden is None:
            self._wait(f"{version.primary.directory} has no golden picture.")
            self._reason = ""
            self._anew.wait()
        while True:
            self._anew.clear()
            while not self._passes(version):
                time.sleep(_PAUSE)
            _log.info("%s version %s passed", self._wanted.name, version.label)
            self._anew.wait()

    def _opened(self) -> Version:
        """Waits for what may come yet, as a mount. Raises ModelError."""
        wanted = self._wanted
        while True:
            try:
                found, second = ondisk.locate(wanted.directory, hashes=False)
                if wanted.outliers:
                    second, _ = ondisk.locate(wanted.outliers, hashes=False)
                return Version(found, second)
            except NotHere as error:
                self._wait(error.message)
            time.sleep(_PAUSE)

    def _passes(self, version: Version) -> bool:
        """Whether it does by now. Raises ModelError where it never will."""
        port = self._wanted.port
        now = listening(port)
        if not now:
            return self._wait(f"Nobody listens on port {port}.")
        status, reason = ask(port, "/health/ready", _PATIENCE)
        if status != 200:
            told = f"answers {status} {reason}".rstrip() if status else "doesn't answer"
            return self._wait(f"The server on port {port} {told} to /health/ready.")
        self._wait(f"The server on port {port} is asked its golden picture.")
        try:
            wrong = examine(self._wanted.name, version, port, self._wanted.patience)
        except NotHere as error:
            return self._wait(error.message)
        if wrong:
            raise ModelError(
                f"{version.primary.directory}: {wrong}.",
                remedy="Publish the version again, or what [golden] says of it.",
            )
        with self._lock:
            self._passed, self._reason = now, ""
        return True

    def _wait(self, reason: str) -> bool:
        """Not yet."""
        if reason != self._reason:
            _log.info("%s", reason)
        self._reason = reason
        return False


def listening(port: int) -> frozenset[str]:
    """The sockets that listen on a port, by their inodes, which no other socket has again."""
    end = f":{port:04X}"
    tables = [path for path in _TABLES if path.exists()]  # there may be no IPv6
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return frozenset(row[9] for row in rows if row[1].endswith(end) and row[3] == _LISTENS)


def serve(examining: Examining, listener: socket.socket) -> None:
    """Answer /health/ready and /health/live on `listener`, in a thread of its own."""

    class Health(http.server.BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def do_GET(self) -> None:
            word = self.path.rpartition("/")[2]
            if self.path not in ("/health/ready", "/health/live"):
                self._reply(404, {"reason": f"There is no {self.path}, but /health/ready."})
            elif word == "ready" and (why_not := examining.why_not()):
                self._reply(503, {word: False, "reason": why_not})
            else:
                self._reply(200, {word: True})

        do_HEAD = do_GET

        def send_error(self, code: int, message: str | None = None, _: str | None = None) -> None:
            """What the library refuses of itself, such as another method."""
            if code == 501:
                self._reply(405, {"reason": f"{self.command} isn't answered here, but GET."})
            else:
                self._reply(code, {"reason": message or http.HTTPStatus(code).phrase})

        def _reply(self, status: int, told: dict[str, object]) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            if status == 405:
                self.send_header("allow", "GET, HEAD")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """A probe a second is no news."""

    server = http.server.ThreadingHTTPServer(
        listener.getsockname()[:2], Health, bind_and_activate=False
    )
    server.socket.close()
    server.socket = listener
    threading.Thread(target=server.serve_forever, daemon=True, name="health").start()
