"""An S3-like server on loopback that misbehaves as told: raw TCP, one thread a connection."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How one reply goes wrong; the default is a right one. `headers` override or (None) drop."""

    status: int | None = None
    body: bytes = b""
    headers: dict[str, str | None] = field(default_factory=dict)
    silent: bool = False  # never answer
    delay: float = 0.0  # seconds before the answer
    cut: int | None = None  # close after so many bytes of the body
    reset: bool = False  # cut by RST instead of FIN
    stall: int | None = None  # go silent after so many bytes of the body
    piece: int = 1 << 20  # bytes sent at a time …
    pause: float = 0.0  # … and seconds between them
    corrupt: bool = False  # flip the body's first byte
    whole: bool = False  # 200 and the whole object to a range


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


Script = Callable[[Request, int], Behaviour]
"""What to do with a request, the n-th (from 0) that the server got."""


def error(status: int, code: str, extra: str = "") -> Behaviour:
    """An S3 error reply."""
    return Behaviour(status=status, body=f"<Error><Code>{code}</Code>{extra}</Error>".encode())


def first(count: int, behaviour: Behaviour) -> Script:
    """`behaviour` for the first `count` requests, then all is well."""
    return lambda request, n: behaviour if n < count else Behaviour()


def always(behaviour: Behaviour) -> Script:
    return lambda request, n: behaviour


def at_random(share: float, behaviour: Behaviour, seed: int = 1) -> Script:
    """`behaviour` for this share of the requests."""
    dice = random.Random(seed)
    return lambda request, n: behaviour if dice.random() < share else Behaviour()


class FaultyServer:
    """Objects of one bucket (path style); `script` may be replaced at any time."""

    def __init__(self, script: Script | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.script = script or always(Behaviour())
        self.objects: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self._tls = tls
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._over.set()
        # wakes accept(), which a mere close does not
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(10)

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0.2)
        try:
            if self._tls is not None:
                connection.settimeout(5)
                connection = self._tls.wrap_socket(connection, server_side=True)
                connection.settimeout(0.2)
            pending = b""
            while not self._over.is_set():
                head, pending = self._head(connection, pending)
                if head is None or not self._answer(connection, head):
                    return
        except (OSError, ssl.SSLError):
            return  # the client is gone
        finally:
            connection.close()

    def _head(self, connection: socket.socket, pending: bytes) -> tuple[Request | None, bytes]:
        while b"\r\n\r\n" not in pending:
            if self._over.is_set():
                return None, b""
            try:
                data = connection.recv(65536)
            except TimeoutError:
                continue
            if not data:
                return None, b""
            pending += data
        head, _, pending = pending.partition(b"\r\n\r\n")
        first_line, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first_line.split(" ", 2)
        parts = urlsplit(target)
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        return Request(method, unquote(parts.path), query, headers), pending

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        with self._lock:
            behaviour = self.script(request, len(self.requests))
            self.requests.append(request)
        if behaviour.silent:
            self._over.wait()
            return False
        if self._over.wait(behaviour.delay):
            return False
        status, headers, body = self._reply(request, behaviour)
        for name, value in behaviour.headers.items():
            headers.pop(name, None)
            if value is not None:
                headers[name] = value
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.settimeout(30)
        connection.sendall(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
        if request.method == "HEAD":
            body = b""
        goes_on = self._send(connection, body, behaviour)
        connection.settimeout(0.2)
        return goes_on

    def _send(self, connection: socket.socket, body: bytes, behaviour: Behaviour) -> bool:
        if behaviour.corrupt and body:
            body = bytes([body[0] ^ 0xFF]) + body[1:]
        end = next((n for n in (behaviour.cut, behaviour.stall) if n is not None), len(body))
        for at in range(0, min(end, len(body)), behaviour.piece):
            connection.sendall(body[at : min(at + behaviour.piece, end)])
            if behaviour.pause and self._over.wait(behaviour.pause):
                return False
        if behaviour.stall is not None:
            self._over.wait()
        if behaviour.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return behaviour.cut is None and behaviour.stall is None and not behaviour.reset

    def _reply(self, request: Request, behaviour: Behaviour) -> tuple[int, dict[str, str], bytes]:
        headers: dict[str, str]
        if behaviour.status is not None:
            status, headers, body = behaviour.status, {}, behaviour.body
        elif request.query.get("comp") == "list":
            status, headers, body = 200, {}, self._blobs(request.query)
        elif "list-type" in request.query:
            status, headers, body = 200, {}, self._listing(request.query)
        else:
            status, headers, body = self._object(request, behaviour)
        headers["Content-Length"] = str(len(body))
        return status, headers, body

    def _object(self, request: Request, behaviour: Behaviour) -> tuple[int, dict[str, str], bytes]:
        data = self.objects.get(request.path.removeprefix(f"/{BUCKET}/"))
        if data is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        headers = {"ETag": f'"{md5(data)}"'}
        wanted = request.headers.get("range", "")
        if not wanted or behaviour.whole:
            return 200, headers, data
        start, stop = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
        headers["Content-Range"] = f"bytes {start}-{stop}/{len(data)}"
        return 206, headers, data[start : stop + 1]

    def _listing(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        entries: dict[str, bytes | None] = {}
        more = last = ""
        for key in sorted(k for k in self.objects if k.startswith(prefix) and k > after):
            name, data = key, self.objects[key]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                name = key[: cut + 1]
            if name not in entries and len(entries) == 1000:
                more = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>"
                break
            entries[name] = None if cut >= 0 else data
            last = key
        parts = [
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            if data is None
            else f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-31T12:00:00.000Z"
            f'</LastModified><ETag>"{md5(data)}"</ETag><Size>{len(data)}</Size></Contents>'
            for name, data in entries.items()
        ]
        flag = "true" if more else "false"
        body = f"<IsTruncated>{flag}</IsTruncated>{more}{''.join(parts)}"
        return f"<ListBucketResult>{body}</ListBucketResult>".encode()

    def _blobs(self, query: dict[str, str]) -> bytes:
        """Azure's listing, of at most 1000, with the mark of its byte order that Azure's has."""
        keys = sorted(k for k in self.objects if k.startswith(query.get("prefix", "")))
        rest = [k for k in keys if k > query.get("marker", "")]
        parts = "".join(_blob(key, self.objects[key]) for key in rest[:1000])
        more = escape(rest[999]) if len(rest) > 1000 else ""
        body = f"<Blobs>{parts}</Blobs><NextMarker>{more}</NextMarker>"
        return f"\ufeff<EnumerationResults>{body}</EnumerationResults>".encode()


def _blob(key: str, data: bytes) -> str:
    return (
        f"<Blob><Name>{escape(key)}</Name><Properties><Etag>{md5(data)}</Etag><Content-Length>"
        f"{len(data)}</Content-Length><Last-Modified>Sat, 31 Jan 2026 12:00:00 GMT"
        "</Last-Modified></Properties></Blob>"
    )


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def slowly(rate: int, piece: int = 4096) -> Behaviour:
    """A body at `rate` bytes a second."""
    return Behaviour(piece=piece, pause=piece / rate)


def flapping(period: float, behaviour: Behaviour) -> Script:
    """Well for `period` seconds, then `behaviour` as long, and so on."""
    start = time.monotonic()
    return lambda request, n: (
        behaviour if int((time.monotonic() - start) / period) % 2 else Behaviour()
    )


def with_etag(behaviour: Behaviour, etag: str) -> Behaviour:
    return replace(behaviour, headers={**behaviour.headers, "ETag": f'"{etag}"'})


@contextmanager
def faulty_server(
    script: Script | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[FaultyServer]:
    server = FaultyServer(script, tls)
    try:
        yield server
    finally:
        server.close()
