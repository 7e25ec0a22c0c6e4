"""Connections to servers that do what HTTP lets them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hardtack.endpoint.connections import Away, Broken, Connections
from hardtack.endpoint.servers import Address
from tests.support.ports import free_port


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


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections(10.0)
    yield made
    made.close()


def test_a_connection_is_kept_for_the_next_picture(connections: Connections) -> None:
    def twice(near: socket.socket) -> None:
        whole(near, hang_up=True)
        whole(near)

    with serving(twice) as address:
        for _ in range(2):
            assert connections.post(address, "/infer", b"picture", "image/png") == (200, b"{}")
        connections.close()


def test_one_that_was_hung_up_on_is_not_taken_again(connections: Connections) -> None:
    hung_up = threading.Event()

    def once(near: socket.socket) -> None:
        whole(near, hang_up=True)
        near.shutdown(socket.SHUT_RDWR)
        hung_up.set()

    with serving(once, whole) as address:
        assert connections.post(address, "/infer", b"picture", "image/png")[0] == 200
        assert hung_up.wait(30)
        assert connections.post(address, "/infer", b"picture", "image/png")[0] == 200
        connections.close()


def test_what_leads_to_servers_that_are_gone_is_closed_without_a_picture(
    connections: Connections,
) -> None:
    """`whole` returns when the connection is closed, which the servers' threads wait for."""
    with serving(whole) as old, serving(whole) as new:
        for address in (old, new):
            connections.post(address, "/infer", b"picture", "image/png")
        assert list(connections._idle) == [old, new]
        connections.only({new})
        assert list(connections._idle) == [new]
        # Behind the same address, as a Service's, another version answers by now.
        connections.only({replace(new, version="2")})
        assert connections._idle == {}


def test_one_that_was_hung_up_on_is_closed_without_a_picture(connections: Connections) -> None:
    hung_up = threading.Event()

    def once(near: socket.socket) -> None:
        whole(near, hang_up=True)
        near.shutdown(socket.SHUT_RDWR)
        hung_up.set()

    with serving(once) as address:
        assert connections.post(address, "/infer", b"picture", "image/png")[0] == 200
        assert hung_up.wait(30)
        connections.only({address})
        assert connections._idle == {}


def test_a_refusal_by_the_head_is_read_though_the_body_could_not_be_sent(
    connections: Connections,
) -> None:
    with serving(by_its_head) as address:
        assert connections.post(address, "/infer", bytes(30_000_000), "image/png") == (413, b"big")


def test_nobody_there_and_nonsense(connections: Connections) -> None:
    with pytest.raises(Away):
        connections.post(Address("127.0.0.1", free_port(), "1"), "/infer", b"p", "image/png")
    with serving(lambda near: near.sendall(b"SSH-2.0\r\n")) as address, pytest.raises(Broken):
        connections.post(address, "/infer", b"picture", "image/png")
