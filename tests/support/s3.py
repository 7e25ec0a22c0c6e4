"""A real S3 server (nanio) on loopback."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port, wait_for_port
from tests.support.stopping import stopped

ACCESS_KEY = "HARDTACKTESTKEY"
SECRET_KEY = "hardtack-test-secret-0123456789"


class S3Server:
    """nanio over a data directory; may be stopped and started again on the same port.

    Objects are put straight on its disk, so that tests may choose an ETag.
    """

    def __init__(
        self, data: Path, at: tuple[str, int] | None = None,
        enter: Callable[..., list[str]] = lambda *command: list(command),
    ) -> None:  # fmt: skip
        """`at`: address and port, loopback unless given; `enter` says how it is run elsewhere."""
        self.data = data
        self.address, self.port = at or ("127.0.0.1", free_port())
        self._enter = enter
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment with which a client finds the server and its credentials."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "nanio", "serve", "--host", self.address]
        command += ["--port", str(self.port), "--data-dir", str(self.data)]
        self._process = subprocess.Popen(
            self._enter(*command, "--log-level", "error", "--no-access-log"),
            env={**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_port(self.port, self.address)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Connections are taken, and nothing is answered."""
        assert self._process is not None
        with stopped(self._process.pid):
            yield

    def create_bucket(self, bucket: str) -> None:
        (self.data / bucket / ".nanio-meta").mkdir(parents=True, exist_ok=True)

    def put(self, bucket: str, key: str, data: bytes, *, etag: str | None = None) -> str:
        """Store an object; the ETag (without quotes) is its MD5 unless given."""
        self.create_bucket(bucket)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest() if etag is None else etag
        meta = {
            "etag": f'"{etag}"',
            "size": len(data),
            "last_modified": datetime.datetime.now(tz=datetime.UTC).isoformat(),
        }
        _replace(self.data / bucket / key, data)
        _replace(
            self.data / bucket / ".nanio-meta" / f"{key}.json", json.dumps(meta).encode("utf-8")
        )
        return etag

    def delete(self, bucket: str, key: str) -> None:
        (self.data / bucket / key).unlink()
        (self.data / bucket / ".nanio-meta" / f"{key}.json").unlink()


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # nanio lists every name that doesn't start with `.nanio`
    temporary = path.parent / f".nanio-{path.name}.tmp"
    temporary.write_bytes(data)
    temporary.replace(path)


@contextmanager
def s3_server(data: Path | None = None) -> Iterator[S3Server]:
    """A running server over `data` (a temporary directory unless given)."""
    with tempfile.TemporaryDirectory(prefix="hardtack-s3-") as temporary:
        server = S3Server(data or Path(temporary))
        server.start()
        try:
            yield server
        finally:
            server.stop()
