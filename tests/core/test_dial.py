"""Connections through proxies of each kind, to a server with and without TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from hardtack.core.dial import Proxy, dial
from hardtack.core.errors import ConfigError
from tests.support.proxies import ProxyServer, connect, proxy, socks

BIG = bytes(range(256)) * 8192
"""Many TLS records."""


@contextmanager
def mirror(tls: ssl.SSLContext | None) -> Iterator[int]:
    """A server that says again what it is told, until its client ends; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            near, _ = listener.accept()
            near = tls.wrap_socket(near, server_side=True) if tls else near
            with near:
                while data := near.recv(1 << 16):
                    near.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def of(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that this machine trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


def said_again(sock: socket.socket, data: bytes) -> bytes:
    """What a mirror answers to `data`, told in parts that no buffer is too small for."""
    heard = b""
    for start in range(0, len(data), 30_000):
        part = data[start : start + 30_000]
        sock.sendall(part)
        until = start + len(part)
        while len(heard) < until:
            heard += sock.recv(1 << 16)
    return heard


@pytest.mark.parametrize(
    ("scheme", "inside"),
    [
        ("http", True),
        ("https", True),
        ("socks5", True),
        ("socks5", False),
        ("socks5h", True),
        ("socks5h", False),
    ],
)
def test_what_goes_through_a_proxy_is_what_was_said(
    scheme: str, inside: bool, authority: trustme.CA
) -> None:
    host = "localhost" if scheme == "socks5" else "store.invalid"  # socks5 looks it up here
    server = of(authority, host) if inside else None
    outer = of(authority, "localhost") if scheme == "https" else None
    kind = socks if scheme.startswith("socks") else connect
    with mirror(server) as port, proxy(kind, leads_to=port, tls=outer) as through:
        way = Proxy.parse(f"{scheme}://localhost:{through.port}")
        tls = ssl.create_default_context if inside else None
        with dial(host, 4433, timeout=10, proxy=way, tls=tls) as sock:
            assert said_again(sock, BIG) == BIG
    (asked,) = through.asked
    expected: dict[str, str | tuple[str, ...]] = {
        "socks5": ("SOCKS 1 127.0.0.1:4433", "SOCKS 4 ::1:4433"),
        "socks5h": "SOCKS 3 store.invalid:4433",
    }
    assert asked.startswith(expected.get(scheme, "CONNECT store.invalid:4433 HTTP/1.1\r\n"))


def test_socks_with_a_login() -> None:
    with mirror(None) as port, proxy(socks, leads_to=port) as through:
        through.wants_login = True
        way = Proxy.parse(f"socks5h://me:se%40cret@127.0.0.1:{through.port}")
        with dial("10.9.8.7", 80, timeout=10, proxy=way) as sock:
            assert said_again(sock, b"x" * 2000) == b"x" * 2000
    assert through.logins == [(b"me", b"se@cret")]
    assert through.asked == ["SOCKS 1 10.9.8.7:80"]
    assert "cret" not in f"{way} {way!r}"


def no_socks(_: ProxyServer, near: socket.socket) -> None:
    near.sendall(b"HTTP/1.1 400 what?\r\n\r\n")


@pytest.mark.parametrize(
    ("kind", "login", "message"),
    [
        (connect, "", r"refuses the way to store\.invalid:443: 'HTTP/1\.1 403 not there'"),
        (socks, "me:right@", r"gives no way to store\.invalid:443: its rules forbid it"),
        (socks, "me:wrong@", "refuses its user and password"),
        (socks, "", "wants a user and a password"),
        (no_socks, "", r"doesn't speak SOCKS 5"),
    ],
)
def test_a_proxy_that_gives_no_way(kind: Callable[..., None], login: str, message: str) -> None:
    scheme = "http" if kind is connect else "socks5h"
    with proxy(kind) as through:
        through.refuses, through.wants_login = True, kind is socks
        way = Proxy.parse(f"{scheme}://{login}127.0.0.1:{through.port}")
        with pytest.raises(OSError, match=message):
            dial("store.invalid", 443, timeout=10, proxy=way, tls=ssl.create_default_context)


def test_a_proxy_whose_certificate_does_not_hold(authority: trustme.CA) -> None:
    with proxy(tls=of(trustme.CA(), "localhost")) as through:
        way = Proxy.parse(f"https://localhost:{through.port}")
        with pytest.raises(ssl.SSLCertVerificationError):
            dial("store.invalid", 443, timeout=10, proxy=way, tls=ssl.create_default_context)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy.site:3128", "http://proxy.site:3128"),
        ("https://proxy.site", "https://proxy.site:443"),
        ("socks5h://me:x@[fe80::1]", "socks5h://[fe80::1]:1080"),
    ],
)
def test_a_proxy_as_people_write_it(text: str, shown: str) -> None:
    assert str(Proxy.parse(text)) == shown


@pytest.mark.parametrize("text", ["ftp://a:1", "http://", "http://a:x", "http://[a", "http://a:0"])
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(ConfigError, match="not a usable proxy URL"):
        Proxy.parse(text.replace("//a", "//me:secret@a"))
