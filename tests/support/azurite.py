"""Azurite, Microsoft's emulator of Azure's storage: its blob service, out of npm, on loopback."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from hardtack.source.azure_account import Account, shared_key
from tests.support.ports import free_port, wait_for_port

VERSION = "3.35.0"  # the last that Node.js before 21 runs
CACHE = Path(__file__).resolve().parents[2] / ".venv" / "azurite" / VERSION
UNUSED = ("applicationinsights", "tedious", "mysql2", "@azure/identity")
"""What Azurite brings for telemetry, other databases and signing in: half of what it installs."""
NAME = "hardtackaccount"
KEY = "aGFyZHRhY2stdGVzdC1rZXktb2YtdGhlLWVtdWxhdG9y"


def installed() -> Path:
    """The program, fetched the first time; of two tests that want it at once one waits."""
    program = CACHE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with (CACHE.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not CACHE.exists():
            with tempfile.TemporaryDirectory(dir=CACHE.parent) as scratch:
                _install(Path(scratch, "whole"))
                Path(scratch, "whole").rename(CACHE)
    return program


def _install(place: Path) -> None:
    (place / "nothing").mkdir(parents=True)
    (place / "nothing" / "package.json").write_text('{"name": "nothing", "version": "1.0.0"}')
    (place / "nothing" / "index.js").write_text("module.exports = {};")
    (place / "package.json").write_text(json.dumps({
        "private": True, "dependencies": {"azurite": VERSION},
        "overrides": dict.fromkeys(UNUSED, "file:./nothing"),
    }))  # fmt: skip
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts",
         "--omit=optional"], cwd=place, check=True, capture_output=True, timeout=200,
    )  # fmt: skip


class Azurite:
    """One account, in memory: what was put is gone after `stop`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}/{NAME}"
        self._account = Account(NAME, self.endpoint, KEY)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment with which a client finds the server and its credentials."""
        return {
            "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={NAME};"
            f"AccountKey={KEY};BlobEndpoint={self.endpoint};"
        }

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(installed()), "--inMemoryPersistence", "--disableTelemetry", "--silent",
             "--disableProductStyleUrl", "--blobPort", str(self.port)],
            env={**os.environ, "AZURITE_ACCOUNTS": f"{NAME}:{KEY}"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def create_container(self, name: str) -> None:
        self._send("PUT", f"/{name}", [("restype", "container")])

    def put(self, container: str, key: str, data: bytes) -> None:
        self._send("PUT", f"/{container}/{quote(key)}", [], data, {"x-ms-blob-type": "BlockBlob"})

    def delete(self, container: str, key: str) -> None:
        self._send("DELETE", f"/{container}/{quote(key)}", [])

    def _send(
        self, method: str, path: str, query: list[tuple[str, str]], data: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        path = f"/{NAME}{path}"
        sent = {"x-ms-version": "2021-12-02", "x-ms-date": formatdate(usegmt=True)}
        sent |= {"Content-Type": "application/octet-stream", **(headers or {})}
        signed = {**sent, **({"Content-Length": str(len(data))} if data else {})}
        sent["Authorization"] = shared_key(self._account, method, path, query, signed)
        text = "&".join(f"{name}={value}" for name, value in query)
        url = f"http://127.0.0.1:{self.port}{path}?{text}".rstrip("?")
        with urlopen(Request(url, data if method == "PUT" else None, sent, method=method)):
            pass


@contextmanager
def azurite() -> Iterator[Azurite]:
    """A running server."""
    server = Azurite()
    server.start()
    try:
        yield server
    finally:
        server.stop()
