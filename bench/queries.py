"""Callers of an endpoint: one picture, sent again and again over connections that stay open."""

from __future__ import annotations

import io
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from hardtack.demo.detectors import Sample

PICTURE_BYTES = 60_000
_SIDES = (800, 600)


def picture(sample: Sample) -> bytes:
    """The sample's picture as a camera of 800 × 600 sends it: a JPEG of at most 60 kB."""
    with Image.open(io.BytesIO(sample.picture())) as small:
        image = np.asarray(small.convert("RGB").resize(_SIDES)).astype(np.int16)
    noise = np.random.default_rng(1).normal(0, 4, image.shape).astype(np.int16)
    noisy = Image.fromarray((image + noise).clip(0, 255).astype(np.uint8))
    for quality in range(98, 20, -1):
        buffer = io.BytesIO()
        noisy.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= PICTURE_BYTES:
            return buffer.getvalue()
    raise SystemExit(f"no JPEG of {PICTURE_BYTES} bytes can be made of {sample.name}")


def request(detector: str, body: bytes, media: str = "image/jpeg", **parameters: str) -> bytes:
    """One image query, head and body."""
    query = urlencode({"detector_id": detector, **parameters})
    return (
        f"POST /device-api/v1/image-queries?{query} HTTP/1.1\r\nhost: box\r\n"
        f"content-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass
class Answers:
    """Seconds that each answer took, when it came, and the statuses that weren't 200."""

    seconds: list[float] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)
    took: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.took

    def add(self, status: int, begun: float) -> float:
        """One reply that came now; the time it is."""
        now = time.perf_counter()
        if status == 200:
            self.seconds.append(now - begun)
            self.came.append(now)
        else:
            self.refused[status] = self.refused.get(status, 0) + 1
        return now

    def quantile(self, part: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class _Caller:
    """One connection: writes a request, reads the reply, and begins again."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.begun = 0.0
        self._received = b""

    def send(self, asked: bytes) -> None:
        self.begun = time.perf_counter()
        self._received = b""
        self.socket.sendall(asked)

    def read(self) -> int:
        """The reply's status when it is whole; 0 before. Raises ConnectionError."""
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionError("the endpoint hung up")
        self._received += piece
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return 0
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        return int(head.split(b" ", 2)[1]) if len(body) >= length else 0


def closed(
    port: int, next_request: Callable[[], bytes | None], *, clients: int, seconds: float = 1e9
) -> Answers:
    """As many callers, each asking as soon as it is answered, until the time is up or no request
    is left. One thread serves them all, so that the callers take little of the machine."""
    found = Answers()
    with selectors.DefaultSelector() as selector:
        begun = time.perf_counter()
        for _ in range(clients):
            if (asked := next_request()) is None:
                break
            caller = _Caller(port)
            selector.register(caller.socket, selectors.EVENT_READ, caller)
            caller.send(asked)
        while selector.get_map():
            for key, _ in selector.select():
                caller = key.data
                status = caller.read()
                if not status:
                    continue
                now = found.add(status, caller.begun)
                following = next_request() if now - begun < seconds else None
                if following is None:
                    selector.unregister(caller.socket)
                    caller.socket.close()
                else:
                    caller.send(following)
        found.took = time.perf_counter() - begun
    return found


def steady(port: int, asked: bytes, *, rate: float, seconds: float) -> Answers:
    """Queries begun at a steady rate, whether or not those before are answered; each on a
    connection of its own."""
    found = Answers()
    with selectors.DefaultSelector() as selector:
        begun = time.perf_counter()
        sent = 0
        while (left := begun + seconds - time.perf_counter()) > 0 or selector.get_map():
            due = begun + sent / rate
            if left > 0 and time.perf_counter() >= due:
                caller = _Caller(port)
                selector.register(caller.socket, selectors.EVENT_READ, caller)
                caller.send(asked)
                sent += 1
                continue
            wait = max(0.0, due - time.perf_counter()) if left > 0 else 1.0
            for key, _ in selector.select(wait):
                caller = key.data
                if status := caller.read():
                    found.add(status, caller.begun)
                    selector.unregister(caller.socket)
                    caller.socket.close()
        found.took = time.perf_counter() - begun
    return found
