"""Connections to servers that do what HTTP lets them."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import uvloop

from hardtack.endpoint.connections import Away, Broken, Connections, Reply
from hardtack.endpoint.servers import Address
from tests.support.ports import free_port

T = TypeVar("T")


def run(asking: Coroutine[Any, Any, T]) -> T:
    """In the loop that the endpoint has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asking)


@contextmanager
def serving(*answers: Callable[[socket.socket], None]) -> Iterator[Address]:
    """A server that does `answers` with one connection after another."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                near, _ = listening.accept()
                with near:
                    answer(near)

        server = threading.Thread(target=serve)
        server.start()
        yield Address("127.0.0.1", listening.getsockname()[1], "1")
        server.join(30)
        assert not server.is_alive()


def whole(near: socket.socket, *, hang_up: bool = False) -> None:
    """Reads a request of 7 bytes, answers it, and waits for the caller to hang up, or doesn't."""
    received = b""
    while not received.endswith(b"picture"):
        received += near.recv(1 << 16)
    near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
    if not hang_up:
        assert near.recv(1) == b""


def by_its_head(near: socket.socket) -> None:
    near.recv(100)
    near.sendall(b"HTTP/1.1 413 no\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")


async def posted(connections: Connections, address: Address, body: bytes = b"picture") -> Reply:
    return await connections.post(address, "/infer", body, "image/png")


async def posted_once(address: Address, body: bytes = b"picture") -> Reply:
    connections = Connections(10.0)
    try:
        return await posted(connections, address, body)
    finally:
        connections.close()


async def until_idle(connections: Connections, *addresses: Address) -> None:
    """Until these, in any order, are those to whom idle connections lead."""
    async with asyncio.timeout(30):
        while {a for a, idle in connections._idle.items() if idle} != set(addresses):
            await asyncio.sleep(0.01)


def test_a_connection_is_kept_for_the_next_picture() -> None:
    def twice(near: socket.socket) -> None:
        whole(near, hang_up=True)
        whole(near)

    async def ask(address: Address) -> None:
        connections = Connections(10.0)
        for _ in range(2):
            assert await posted(connections, address) == (200, b"{}")
        connections.close()

    with serving(twice) as address:
        run(ask(address))


def test_one_that_was_hung_up_on_is_not_taken_again() -> None:
    def once(near: socket.socket) -> None:
        whole(near, hang_up=True)
        near.shutdown(socket.SHUT_RDWR)

    async def ask(address: Address) -> None:
        connections = Connections(10.0)
        assert (await posted(connections, address))[0] == 200
        await until_idle(connections)  # without a picture
        assert (await posted(connections, address))[0] == 200
        connections.close()

    with serving(once, whole) as address:
        run(ask(address))


def test_what_leads_to_servers_that_are_gone_is_closed_without_a_picture() -> None:
    """`whole` returns when the connection is closed, which the servers' threads wait for."""

    async def ask(old: Address, new: Address) -> None:
        connections = Connections(10.0)
        for address in (old, new):
            await posted(connections, address)
        await until_idle(connections, old, new)
        connections.only({new})
        await until_idle(connections, new)
        # Behind the same address, as a Service's, another version answers by now.
        connections.only({replace(new, version="2")})
        await until_idle(connections)

    with serving(whole) as old, serving(whole) as new:
        run(ask(old, new))


def test_a_refusal_by_the_head_is_read_though_the_body_could_not_be_sent() -> None:
    with serving(by_its_head) as address:
        assert run(posted_once(address, bytes(30_000_000))) == (413, b"big")


def said(reply: bytes) -> Callable[[socket.socket], None]:
    """Reads the request, says that, and hangs up."""

    def answer(near: socket.socket) -> None:
        received = b""
        while not received.endswith(b"picture"):
            received += near.recv(1 << 16)
        near.sendall(reply)

    return answer


@pytest.mark.parametrize(
    ("reply", "had"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n{}", (200, b"{}")),
        (b"HTTP/1.1 204 none\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 500 no\r\nconnection: close\r\n\r\n", (500, b"")),
        (
            b"HTTP/1.1 100 go on\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            (200, b"{}"),
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            (200, b"{}"),
        ),
    ],
)
def test_a_reply_may_end_in_every_way_that_http_has(reply: bytes, had: Reply) -> None:
    with serving(said(reply)) as address:
        assert run(posted_once(address)) == had


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    ],
)
def test_what_is_no_reply_or_half_of_one_is_told(reply: bytes) -> None:
    with serving(said(reply)) as address, pytest.raises(Broken):
        run(posted_once(address))


def test_more_than_a_reply_may_have_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardtack.endpoint.connections._MOST_REPLY", 1000)
    reply = said(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1001))
    with serving(reply) as address, pytest.raises(Broken, match="1000 bytes"):
        run(posted_once(address))


def test_what_comes_unasked_ends_the_connection() -> None:
    def twice(near: socket.socket) -> None:
        whole(near, hang_up=True)
        near.sendall(b"HTTP/1.1 408 too late\r\ncontent-length: 0\r\n\r\n")

    async def ask(address: Address) -> None:
        connections = Connections(10.0)
        await posted(connections, address)
        await until_idle(connections)

    with serving(twice) as address:
        run(ask(address))


@pytest.mark.parametrize("rest", [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", b"{}"])
def test_what_comes_behind_a_reply_is_not_the_next_pictures(rest: bytes) -> None:
    def more(near: socket.socket) -> None:
        near.recv(1 << 16)
        near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" + rest)
        near.recv(1)

    async def ask(address: Address) -> None:
        connections = Connections(10.0)
        for _ in range(2):
            assert await posted(connections, address) == (200, b"{}")
        connections.close()

    with serving(more, whole) as address:
        run(ask(address))


def test_a_body_that_a_reset_ends_is_no_whole_one() -> None:
    def reset(near: socket.socket) -> None:
        near.recv(1 << 16)
        near.sendall(b"HTTP/1.1 200 OK\r\n\r\n{")
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with serving(reset) as address, pytest.raises(Broken):
        run(posted_once(address))


def test_one_that_is_closed_by_now_is_left_for_a_new_one() -> None:
    async def ask(address: Address) -> None:
        connections = Connections(10.0)
        await posted(connections, address)
        (wire,) = connections._idle[address]
        wire._transport.close()  # which the loop has yet to tell
        assert (await posted(connections, address))[0] == 200
        connections.close()

    with serving(whole, whole) as address:
        run(ask(address))


def test_nobody_there() -> None:
    with pytest.raises(Away):
        run(posted_once(Address("127.0.0.1", free_port(), "1")))
