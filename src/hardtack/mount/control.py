"""The owner's operations over `<cache>/control.sock`, for processes that don't own the cache.

One request a connection, JSON lines: `{"operation", "arguments"}` one way; the other way any
number of `{"progress": [event, name, number]}`, then `{"result"}` or `{"error": [class, message,
remedy]}`.
Only the owner's user and root are answered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import socket
import struct
import threading
import time
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardtack.cache import results
from hardtack.core.errors import AccessDenied, HardtackError, MountError, tree
from hardtack.core.progress import Progress, Quiet

if TYPE_CHECKING:
    from hardtack.cache.cache import Cache

log = logging.getLogger(__name__)

_MOST_REQUEST = 16 * 2**20
_PAUSE = 0.5
"""Seconds until a request is taken again, after one that couldn't be."""

SOCKET = "control.sock"
_OPERATIONS: dict[str, Any] = {
    "has_listing": bool,
    "refresh": results.Refresh,
    "prefetch": results.Prefetched,
    "export": results.Prefetched,
    "pin": results.Release,
    "unpin": None,
    "releases": list[results.Release],
    "verify": results.Verified,
    "evict": results.Evicted,
    "contents": list[results.Content],
    "survey": list[results.Surveyed],
    "peek": str,
    "usage": results.Usage,
    "status": results.Status,
}
_WITH_PROGRESS = frozenset({"prefetch", "export", "verify"})


@contextlib.contextmanager
def _address(directory: Path) -> Iterator[str]:
    """A name for the socket that is short enough however long the directory's is (108 bytes)."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)


def _plain(value: Any) -> Any:
    """JSON's form of a result."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _typed(kind: Any, value: Any) -> Any:
    """The value of type `kind` whose JSON form is `value`."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {name: part for name, part in value.items() if name in hints}
        return kind(**{name: _typed(hints[name], part) for name, part in known.items()})
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple):
        if origin is list or parts[-1] is Ellipsis:
            return origin(_typed(parts[0], part) for part in value)
        return tuple(_typed(part, one) for part, one in zip(parts, value, strict=True))
    if origin is types.UnionType and value is not None:
        return _typed(next(part for part in parts if part is not types.NoneType), value)
    return value


class Server:
    """Answers on the control socket of `directory` until `close`."""

    def __init__(self, cache: Cache, directory: Path) -> None:
        self._cache = cache
        self._directory, self._closed = directory, False
        self._socket = socket.socket(socket.AF_UNIX)
        with _address(directory) as address:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
            before = os.umask(0o177)
            try:
                self._socket.bind(address)
            finally:
                os.umask(before)
        self._socket.listen(16)
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(FileNotFoundError):
            (self._directory / SOCKET).unlink()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone leaves accept(2) waiting
        self._socket.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                channel, _ = self._socket.accept()
                threading.Thread(target=self._converse, args=(channel,), daemon=True).start()
            except (OSError, RuntimeError) as problem:  # too many open files, or threads
                if not self._closed:
                    log.error("a request over the control socket can't be taken: %s", problem)
                    time.sleep(_PAUSE)

    def _converse(self, channel: socket.socket) -> None:
        with channel, channel.makefile("rb") as stream:
            client = _Client(channel)
            try:
                line = stream.readline(_MOST_REQUEST)  # before a refusal, which is then read too
                _check_peer(channel)
                if line:  # else somebody only looked whether we are there
                    client.send({"result": _plain(self._call(client, json.loads(line)))})
            except ConnectionError:
                return  # the client went away
            except HardtackError as problem:
                client.send({"error": [type(problem).__name__, problem.message, problem.remedy]})
            except Exception as problem:  # the top of a thread
                log.exception("a request over the control socket failed")
                client.send({"error": ["HardtackError", f"The worker failed: {problem!r}.", ""]})

    def _call(self, client: _Client, request: dict[str, Any]) -> Any:
        operation, arguments = request["operation"], request["arguments"]
        if operation not in _OPERATIONS:
            raise HardtackError(
                f"The running mount doesn't know the operation {operation!r}.",
                remedy="Upgrade it: hardtack mount --replace.",
            )
        if operation in _WITH_PROGRESS:
            arguments["progress"] = client
        if "to" in arguments:
            arguments["to"] = Path(arguments["to"])
        return getattr(self._cache, operation)(**arguments)


def _check_peer(channel: socket.socket) -> None:
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (0, os.geteuid()):
        raise AccessDenied(f"User {uid} may not ask the mount of user {os.geteuid()}.")


class _Client:
    """Who asked; a Progress that travels. A client that went away is not told any more."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._gone = False

    def send(self, message: dict[str, Any]) -> None:
        with self._lock:
            if self._gone:
                return
            try:
                self._channel.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                self._gone = True

    def task(self, name: str, total: int | None) -> None:
        self.send({"progress": ["task", name, total]})

    def advance(self, name: str, count: int) -> None:
        self.send({"progress": ["advance", name, count]})

    def done(self, name: str) -> None:
        self.send({"progress": ["done", name, 0]})


class RemoteCache:
    """The operations of `Cache`, asked of the process that owns `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has_listing(self) -> bool:
        return bool(self._ask("has_listing"))

    def refresh(self) -> results.Refresh:
        return typing.cast(results.Refresh, self._ask("refresh"))

    def prefetch(
        self,
        patterns: Sequence[str],
        *,
        release: str | None = None,
        progress: Progress | None = None,
    ) -> results.Prefetched:
        answer = self._ask("prefetch", progress, patterns=list(patterns), release=release)
        return typing.cast(results.Prefetched, answer)

    def export(
        self,
        patterns: Sequence[str],
        to: Path,
        *,
        release: str | None = None,
        progress: Progress | None = None,
    ) -> results.Prefetched:
        answer = self._ask(
            "export", progress, patterns=list(patterns), to=str(to.absolute()), release=release
        )
        return typing.cast(results.Prefetched, answer)

    def pin(self, name: str) -> results.Release:
        return typing.cast(results.Release, self._ask("pin", name=name))

    def unpin(self, name: str) -> None:
        self._ask("unpin", name=name)

    def releases(self) -> list[results.Release]:
        return typing.cast(list[results.Release], self._ask("releases"))

    def verify(self, *, repair: bool, progress: Progress | None = None) -> results.Verified:
        return typing.cast(results.Verified, self._ask("verify", progress, repair=repair))

    def evict(self, patterns: Sequence[str]) -> results.Evicted:
        return typing.cast(results.Evicted, self._ask("evict", patterns=list(patterns)))

    def contents(self) -> list[results.Content]:
        return typing.cast(list[results.Content], self._ask("contents"))

    def survey(self, patterns: Sequence[str]) -> list[results.Surveyed]:
        return typing.cast(list[results.Surveyed], self._ask("survey", patterns=list(patterns)))

    def peek(self, path: str) -> str:
        return str(self._ask("peek", path=path))

    def usage(self) -> results.Usage:
        return typing.cast(results.Usage, self._ask("usage"))

    def status(self) -> results.Status:
        return typing.cast(results.Status, self._ask("status"))

    def close(self) -> None:
        """Nothing to give back: each operation has its own connection."""

    def _ask(self, operation: str, progress: Progress | None = None, **arguments: Any) -> Any:
        with _dial(self._directory) as channel, channel.makefile("rwb") as stream:
            request = {"operation": operation, "arguments": arguments}
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
            for line in stream:
                message = json.loads(line)
                if "progress" in message:
                    _forward(progress or Quiet(), *message["progress"])
                elif "error" in message:
                    raise _error(*message["error"])
                else:
                    return _typed(_OPERATIONS[operation], message["result"])
        raise MountError(
            f"The process that owns {self._directory} ended before it answered.",
            remedy="Try again: another worker takes its place.",
        )


def _dial(directory: Path) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX)
    try:
        with _address(directory) as address:
            channel.connect(address)
    except OSError:
        channel.close()
        raise
    return channel


def _forward(progress: Progress, event: str, name: str, number: int) -> None:
    if event == "task":
        progress.task(name, number)
    elif event == "advance":
        progress.advance(name, number)
    else:
        progress.done(name)


def _error(name: str, message: str, remedy: str) -> HardtackError:
    kinds = {kind.__name__: kind for kind in tree()}
    return kinds.get(name, HardtackError)(message, remedy=remedy)


def connect(directory: Path) -> RemoteCache | None:
    """The owner of the cache in `directory`, or None when nobody answers there."""
    try:
        _dial(directory).close()
    except OSError:
        return None
    return RemoteCache(directory)
