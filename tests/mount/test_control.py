"""The owner's operations over the socket, with a cache that records what it is asked."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from hardtack.cache import results
from hardtack.cache.cache import Cache
from hardtack.core.errors import NotFound
from hardtack.core.progress import Progress
from hardtack.mount import control
from hardtack.mount.control import SOCKET, RemoteCache, Server, connect


class Recorder:
    """Answers like a cache."""

    def prefetch(
        self, patterns: list[str], *, release: str | None, progress: Progress
    ) -> results.Prefetched:
        progress.task("a", 10)
        progress.advance("a", 10)
        progress.done("a")
        return results.Prefetched(1, 10, 10, ((str(patterns), str(release)),))

    def verify(self, *, repair: bool, progress: Progress) -> results.Verified:
        return results.Verified(1, 10, (results.Damage("a", 3, repair),))

    def usage(self) -> results.Usage:
        return results.Usage(1, None, 2, 3, 4)

    def releases(self) -> list[results.Release]:
        return [results.Release("v1", 1, 0.5, 1, 10, 10)]

    def unpin(self, name: str) -> None:
        raise NotFound(f"There is no release {name}.", remedy="See hardtack releases.")


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def task(self, name: str, total: int | None) -> None:
        self.events.append(("task", name, total))

    def advance(self, name: str, count: int) -> None:
        self.events.append(("advance", name, count))

    def done(self, name: str) -> None:
        self.events.append(("done", name))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Longer than a socket's address may be."""
    long = tmp_path / ("d" * 120)
    long.mkdir()
    return long


@pytest.fixture
def remote(directory: Path) -> Iterator[RemoteCache]:
    server = Server(cast(Cache, Recorder()), directory)
    found = connect(directory)
    assert found is not None
    yield found
    server.close()


def test_results_keep_their_types(remote: RemoteCache) -> None:
    assert remote.usage() == results.Usage(1, None, 2, 3, 4)
    assert remote.releases() == [results.Release("v1", 1, 0.5, 1, 10, 10)]
    assert remote.verify(repair=True).bad == (results.Damage("a", 3, True),)


def test_progress_travels(remote: RemoteCache) -> None:
    heard = Heard()
    done = remote.prefetch(["*.onnx"], release="v1", progress=heard)
    assert done.failed == (("['*.onnx']", "v1"),)
    assert heard.events == [("task", "a", 10), ("advance", "a", 10), ("done", "a")]


def test_errors_travel(remote: RemoteCache) -> None:
    with pytest.raises(NotFound) as caught:
        remote.unpin("v2")
    assert caught.value.message == "There is no release v2."
    assert caught.value.remedy == "See hardtack releases."


def test_only_its_owner_may_connect(remote: RemoteCache, directory: Path) -> None:
    assert stat.S_IMODE((directory / SOCKET).stat().st_mode) == 0o600


_AS_NOBODY = """
import os, sys
from pathlib import Path
from hardtack.mount.control import connect
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    connect(Path(sys.argv[1])).usage()
except Exception as problem:
    print(type(problem).__name__, problem)
"""


@pytest.mark.needs("root")
def test_another_user_is_refused_even_when_the_socket_lets_him_in() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        server = Server(cast(Cache, Recorder()), Path(name))
        os.chmod(name, 0o755)
        (Path(name) / SOCKET).chmod(0o666)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, name], check=True, capture_output=True, text=True
        )
        server.close()
    assert done.stdout == "AccessDenied User 65534 may not ask the mount of user 0.\n"


def test_too_many_open_files_pass(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that could take no request for a moment takes the next ones."""
    monkeypatch.setattr(control, "_PAUSE", 0.01)
    accept, left = socket.socket.accept, [errno.EMFILE, errno.ENOMEM]

    def accept_at_last(self: socket.socket) -> tuple[socket.socket, Any]:
        if left:
            raise OSError(left[0], os.strerror(left.pop(0)))
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", accept_at_last)
    server = Server(cast(Cache, Recorder()), directory)
    try:
        assert RemoteCache(directory).usage() == results.Usage(1, None, 2, 3, 4)
    finally:
        server.close()
    assert "can't be taken: [Errno 24] Too many open files" in caplog.text


def test_nobody_there(directory: Path) -> None:
    assert connect(directory) is None
    os.mknod(directory / SOCKET, stat.S_IFSOCK | 0o600)
    assert connect(directory) is None
