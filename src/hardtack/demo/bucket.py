"""The demo's bucket: a real S3 server on loopback with real weights as a Hugging Face cache."""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from hardtack.core.errors import ConfigError, SourceUnreachable
from hardtack.demo.ocr import REPOSITORY

BUCKET = "weights"


def find_weights() -> list[Path]:
    """The ONNX files that PyPI's rapidocr-onnxruntime carries. Raises ConfigError."""
    for place in (Path(sys.prefix) / "weights", *map(Path, sys.path)):
        found = sorted((place / "rapidocr_onnxruntime" / "models").glob("*.onnx"))
        if found:
            return found
    raise ConfigError(
        "The demo's model weights are not installed.",
        remedy="Run ./run demo in a checkout, or: "
        "pip install --no-deps --ignore-requires-python rapidocr-onnxruntime==1.4.4",
    )


def hub_cache(files: list[Path]) -> dict[str, bytes]:
    """Key → body: `files` laid out as huggingface_hub lays out its cache, with rclone's links."""
    root = "hub/models--" + REPOSITORY.replace("/", "--")
    bodies = {file.name: file.read_bytes() for file in files}
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}
    revision = hashlib.sha1("".join(digests.values()).encode(), usedforsecurity=False).hexdigest()
    objects = {f"{root}/refs/main": revision.encode()}
    for name, body in bodies.items():
        objects[f"{root}/blobs/{digests[name]}"] = body
        target = f"../../blobs/{digests[name]}".encode()
        objects[f"{root}/snapshots/{revision}/{name}.rclonelink"] = target
    return objects


class Server:
    """PyPI's nanio with credentials of its own; stopped and started like a network cable."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.access_key = "DEMO" + secrets.token_hex(8).upper()
        self._secret = secrets.token_urlsafe(24)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, port: int) -> dict[str, str]:
        """What a client needs to reach the server by `port`; nothing else of AWS's is used."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def start(self) -> None:
        """Serve; returns when connections are accepted."""
        self.data.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "nanio", "serve", "--host", "127.0.0.1",
                "--port", str(self.port), "--data-dir", str(self.data),
                "--log-level", "error", "--no-access-log",
            ],
            env=os.environ
            | {"NANIO_ACCESS_KEY": self.access_key, "NANIO_SECRET_KEY": self._secret},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SourceUnreachable(f"The demo's S3 server did not start on {self.endpoint}.")

    def stop(self) -> None:
        """Cut the network: no connection is accepted any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def put(self, objects: dict[str, bytes]) -> None:
        """Create the bucket and store `objects`, by signed requests."""
        self._send(f"/{BUCKET}", b"")
        for key, body in objects.items():
            self._send(f"/{BUCKET}/{quote(key)}", body)

    def _send(self, path: str, body: bytes) -> None:
        from hardtack.source.sigv4 import Credentials, signed_headers

        digest = hashlib.sha256(body).hexdigest()
        headers = signed_headers(
            "PUT", path, "", {"host": f"127.0.0.1:{self.port}"},
            Credentials(self.access_key, self._secret),
            region="us-east-1", now=datetime.now(tz=UTC), payload_sha256=digest,
        )  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("PUT", path, body, headers)
            reply = connection.getresponse()
            reply.read()
        finally:
            connection.close()
        if reply.status != 200:
            raise SourceUnreachable(f"The demo's S3 server answered {reply.status} to PUT {path}.")
