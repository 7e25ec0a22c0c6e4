"""Replies as servers send them, and as they shouldn't."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.core.http1 import BadReply, Connection, Reply


@contextlib.contextmanager
def told(raw: bytes, method: str = "GET") -> Iterator[Reply]:
    """The reply that a server gives by `raw`, and ends the connection."""
    near, far = socket.socketpair()
    near.settimeout(10)

    def serve() -> None:
        with far, contextlib.suppress(OSError):  # nobody reads on
            while b"\r\n\r\n" not in far.recv(1 << 16):
                pass
            far.sendall(raw)

    server = threading.Thread(target=serve)
    server.start()
    try:
        connection = Connection(near)
        connection.send(method, "/", {"Host": "a"})
        yield connection.reply(method)
    finally:
        near.close()
        server.join()


@pytest.mark.parametrize(
    ("raw", "body", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", b"hi", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end", False),
        (b"HTTP/1.1 204 none\r\n\r\n", b"", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", b"hi", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", b"hi", False),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: a\r\n\r\n",
            b"hello!",
            True,
        ),
    ],
)
def test_a_body_and_whether_another_may_follow(raw: bytes, body: bytes, reusable: bool) -> None:
    with told(raw) as reply:
        assert reply.read(1 << 20) == body
        assert reply.reusable is reusable


def test_a_reply_to_head_has_no_body() -> None:
    with told(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD") as reply:
        assert reply.read(9) == b""
        assert reply.headers == {"content-length": "5"}


def test_of_headers_that_are_there_twice_the_first_counts() -> None:
    raw = b"HTTP/1.1 401 no\r\nWWW-Authenticate: Bearer\r\nwww-authenticate: Basic\r\n\r\n"
    with told(raw) as reply:
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nfolded: a\r\n b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbig: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 40_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_what_is_no_whole_reply(raw: bytes) -> None:
    with pytest.raises((BadReply, ConnectionError)), told(raw) as reply:
        reply.read(1 << 20)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\u00e9"])
def test_a_target_that_would_be_another_request(target: str) -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(BadReply, match="no address to ask for"):
        Connection(near).send("GET", target, {"Host": "a"})


PIECES = st.sampled_from(
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 go\r\n\r\n", b"Content-Length: 3\r\n", b"\r\n", b"abc",
     b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b":", b"\n", b"\xff\x00"]
)  # fmt: skip


@given(st.lists(PIECES | st.binary(max_size=20), max_size=12).map(b"".join))
def test_any_bytes_are_a_reply_or_an_error(raw: bytes) -> None:
    try:
        with told(raw) as reply:
            assert len(reply.read(1 << 16)) <= len(raw)
    except (BadReply, ConnectionError):
        assert not raw.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")


@pytest.mark.parametrize("value", ["\u0142", "a\r\nb: c", "a\0", "\x7f"])
def test_a_header_that_cant_be_sent(value: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        with pytest.raises(BadReply, match="the Authorization to be sent has characters") as caught:
            Connection(near).send("GET", "/", {"Authorization": value})
        near.close()
        assert far.recv(1) == b""
    assert value not in str(caught.value)
