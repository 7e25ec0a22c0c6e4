"""A reply's head is acknowledged at once: servers keep the body back until it is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hardtack.core import http1
from hardtack.source import http as source_http


class Handler(BaseHTTPRequestHandler):
    """Answers two bytes, on a connection that stays."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: it is a test's."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_socket_is_told_after_each_request(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel goes back to waiting whenever something is sent."""

    def mode() -> int:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            connection = http1.Connection(sock)
            for _ in range(3):
                connection.send("GET", "/", {"Host": "127.0.0.1"})
                told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
                assert connection.reply("GET").read(10) == b"ok"
        return told

    assert mode() == 1
    monkeypatch.setattr(http1, "acknowledge_at_once", lambda _: None)
    assert mode() == 0


def test_the_sources_client_tells_it_as_well(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(source_http, "acknowledge_at_once", lambda sock: told.append(sock.fileno()))
    host = source_http.Host.of(f"http://127.0.0.1:{port}")
    pool = source_http.Pool(host, size=1, timeout=10)
    for _ in range(3):
        reply = pool.request("GET", "/", {})
        assert reply.read(10, lambda *_: True) == b"ok"
        reply.release()
    pool.close()
    assert len(told) == 3 and len(set(told)) == 1
