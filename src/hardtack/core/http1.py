"""HTTP/1.1 on one socket, as much of it as our own clients need: a request, and its reply.

In place of http.client: its parser of heads (`email`) and `ssl`, which it always imports, took a
quarter of the time before a pull's first byte; with urllib3 upon it, a picture's way to its server
took a third of what an answer costs beside the model. A body's bytes are received into the caller's
buffer, as many at a time as it holds.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from hardtack.core.connecting import acknowledge_at_once

_HEAD = 64 << 10  # the most of a head, and the most that is read ahead of a body
_NO_BODY = frozenset({204, 304})


class BadReply(Exception):
    """The other side doesn't speak HTTP/1.1, or broke off in the middle."""


_FRAMING = frozenset({"content-length", "transfer-encoding"})


class Reply:
    """One reply on a connection: its head is read, its body is to come."""

    def __init__(self, wire: _Wire, method: str) -> None:
        self._wire = wire
        version, self.status, self.headers = _head(wire)
        while 100 <= self.status < 200:
            version, self.status, self.headers = _head(wire)
        chunked = self.headers.get("transfer-encoding", "").lower().endswith("chunked")
        self.length = None if chunked else _length(self.headers)
        """Bytes of the body that are still to come; None when it isn't known."""
        self._chunk: int | None = 0 if chunked else None  # what is left of the present chunk
        self._begun = False
        if method == "HEAD" or self.status in _NO_BODY:
            self.length, self._chunk = 0, None
        said = self.headers.get("connection", "").lower()
        self._kept = "close" not in said if version == b"HTTP/1.1" else "keep-alive" in said
        self.ended = self.length == 0
        """Whether the body was read to its end."""

    @property
    def reusable(self) -> bool:
        """Whether the body was read to its end and another request may follow."""
        return self.ended and self._kept and not self._wire.ahead

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer`, less of it where the body or the time ends; 0 at the end of the body.

        Raises OSError, BadReply when the body breaks off.
        """
        if self.ended:
            return 0
        if self._chunk is not None:
            return self._from_chunk(buffer)
        if self.length is None:  # it ends with the connection
            count = self._wire.receive(buffer)
            self.ended, self._kept = count == 0, False
            return count
        count = self._wire.receive(buffer[: self.length])
        if count == 0:
            raise BadReply(f"{self.length} bytes are missing")
        self.length -= count
        self.ended = self.length == 0
        return count

    def read(self, limit: int) -> bytes:
        """The body, at most `limit` bytes of it. Raises as `readinto`."""
        data = bytearray()
        buffer = memoryview(bytearray(min(limit, _HEAD)))
        while len(data) < limit and (count := self.readinto(buffer[: limit - len(data)])):
            data += buffer[:count]
        return bytes(data)

    def _from_chunk(self, buffer: memoryview) -> int:
        if not self._chunk:
            if self._begun and self._wire.line():
                raise BadReply("a chunk of the reply has no end")
            self._begun = True
            self._chunk = _hexadecimal(self._wire.line().partition(b";")[0].strip())
            if self._chunk == 0:
                while self._wire.line():
                    pass  # trailers, which say nothing of the body
                self.ended = True
                return 0
        count = self._wire.receive(buffer[: self._chunk])
        if count == 0:
            raise BadReply("a chunk of the reply breaks off")
        self._chunk -= count
        return count


class Connection:
    """An open connection, for one request at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._wire = _Wire(sock)

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> None:
        """Send a request, `Host` among its `headers`. Raises OSError; BadReply for what can't be
        sent."""
        lines = [f"{method} {target} HTTP/1.1"]
        for name, value in headers.items():
            if not _sendable(value):
                raise BadReply(f"the {name} to be sent has characters that no header can carry")
            lines.append(f"{name}: {value}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if not target.isascii() or any(c <= " " for c in target):
            raise BadReply(f"{target[:80]!r} is no address to ask for")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        acknowledge_at_once(self.sock)

    def silent(self, seconds: float) -> bool:
        """Whether nothing of a reply comes in so long. Raises OSError, BadReply."""
        patience = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            self._wire.fill()
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(patience)
        return False

    def reply(self, method: str) -> Reply:
        """The reply to a request by `method`, once its head is there. Raises OSError, BadReply."""
        return Reply(self._wire, method)

    def close(self) -> None:
        self.sock.close()


def _sendable(value: str) -> bool:
    """Whether a header can carry `value`: no line ends in it, and nothing beyond latin-1."""
    return all((" " <= sign <= "\xff" and sign != "\x7f") or sign == "\t" for sign in value)


class _Wire:
    """What comes from a socket: lines through a buffer, the rest past it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.ahead = bytearray()
        """What came with a head and is not of it."""

    def line(self) -> bytes:
        """The next line, without its end."""
        while (end := self.ahead.find(b"\n")) < 0:
            if len(self.ahead) > _HEAD:
                raise BadReply("a line of the reply has no end")
            self.fill()
        found = bytes(self.ahead[:end]).removesuffix(b"\r")
        del self.ahead[: end + 1]
        return found

    def fill(self) -> None:
        """Read ahead what is there, or comes next."""
        part = self._sock.recv(_HEAD)
        if not part:
            raise BadReply("the connection broke off")
        self.ahead += part

    def receive(self, buffer: memoryview) -> int:
        """Fill `buffer`; fewer bytes when no more come, 0 when none do."""
        count = min(len(buffer), len(self.ahead))
        buffer[:count] = self.ahead[:count]
        del self.ahead[:count]
        while count < len(buffer):
            try:
                part = self._sock.recv_into(buffer[count:])
            except OSError:
                if count:  # what came is kept; the next call fails likewise
                    return count
                raise
            if part == 0:
                break
            count += part
        return count


def _head(wire: _Wire) -> tuple[bytes, int, dict[str, str]]:
    """Version, status and headers of a reply, these by lower-case name, the first of each."""
    line = wire.line()
    version, _, rest = line.partition(b" ")
    status = rest.split(b" ", 1)[0]
    if not version.startswith(b"HTTP/1.") or not (status.isdigit() and len(status) == 3):
        raise BadReply(f"it doesn't answer in HTTP/1.1 but {line[:40]!r}")
    headers: dict[str, str] = {}
    size = len(line)
    while line := wire.line():
        size += len(line)
        name, colon, value = line.decode("latin-1").partition(":")
        if size > _HEAD or not colon or name != name.strip():
            raise BadReply(f"the reply's head holds {line[:40]!r}")
        name, value = name.lower(), value.strip()
        if name in _FRAMING and headers.get(name, value) != value:
            raise BadReply(f"the reply has a {name} of {headers[name]!r} and one of {value[:40]!r}")
        headers.setdefault(name, value)
    return version, int(status), headers


def _length(headers: dict[str, str]) -> int | None:
    stated = headers.get("content-length", "")
    if not stated:
        return None
    if not (stated.isascii() and stated.isdigit() and len(stated) < 20):
        raise BadReply(f"the reply has a Content-Length of {stated[:40]!r}")
    return int(stated)


def _hexadecimal(text: bytes) -> int:
    if not text or len(text) > 15 or text.strip(b"0123456789abcdefABCDEF"):
        raise BadReply(f"a chunk of the reply has the length {text[:40]!r}")
    return int(text, 16)
