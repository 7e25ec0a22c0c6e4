"""The bench's bucket: PyPI's localbucket, unsigned, over a directory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.link import Link

BUCKET = "bench"
_BLOCK = 1 << 20


@contextmanager
def serving(data: Path, link: Link | None = None) -> Iterator[str]:
    """The endpoint of a server over `data`, on loopback or at the far end of `link`."""
    host = link.there if link else "127.0.0.1"
    port = _free_port()
    program = str(Path(sys.executable).with_name("localbucket"))
    command = [program, "--host", host, "--port", str(port), str(data)]
    process = subprocess.Popen(
        link.inside(command) if link else command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(host, port)
        yield f"http://{host}:{port}"
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(host: str, port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"localbucket does not listen on {host}:{port}")


def make_file(path: Path, size: int) -> None:
    """A file of `size` random bytes, in the page cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for _ in range(size // _BLOCK):
            file.write(os.urandom(_BLOCK))


def make_many(directory: Path, count: int) -> None:
    """`count` objects of some hundred bytes in one directory."""
    directory.mkdir(parents=True, exist_ok=True)
    body = b"weights" * 50
    for number in range(count):
        (directory / f"{number:06}.bin").write_bytes(body[: 100 + number % 250])
