"""Connections through proxies of each kind, to a server with and without TLS."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from hardtack.core.dial import dial
from hardtack.core.errors import ConfigError
from hardtack.core.proxy import Proxy, ProxyError
from hardtack.core.tunnel import way_through
from tests.support.ports import free_port
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


def fault_of(way: Proxy, seconds: float = 10) -> ProxyError:
    """How a proxy at fault is told."""
    with pytest.raises(ProxyError) as caught:
        dial("store.invalid", 443, timeout=seconds, proxy=way, tls=ssl.create_default_context)
    assert f"the proxy {way} " in str(caught.value)
    assert caught.value.remedy
    return caught.value


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
        error = fault_of(Proxy.parse(f"{scheme}://{login}127.0.0.1:{through.port}"))
    assert re.search(message, str(error))
    assert error.lasting
    if "user and" in message:
        assert "%40 for @" in error.remedy


def test_a_proxy_whose_certificate_does_not_hold(authority: trustme.CA) -> None:
    with proxy(tls=of(trustme.CA(), "localhost")) as through:
        way = Proxy.parse(f"https://localhost:{through.port}")
        error = fault_of(way)
    assert f"the proxy {way} can't be used: its certificate is not trusted (" in str(error)
    assert "SSL_CERT_FILE" in error.remedy
    assert error.lasting


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


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a:1",
        "http://",
        "http://a:x",
        "http://[a",
        "http://a:0",
        "http://a..b:1",
        "http://a b:1",
    ],
)
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(ConfigError, match="not a usable proxy URL"):
        Proxy.parse(text.replace("//a", "//me:secret@a"))


@pytest.mark.parametrize(
    "password", ["12/3s3cret", "12?s3cret", "12#s3cret", "12@s3cret", "s3cret@/", "s3cret/"]
)
@pytest.mark.parametrize("scheme", ["http://", "socks5h://", ""])
def test_a_password_that_is_not_escaped(scheme: str, password: str) -> None:
    """The rest of it would be taken for a host, and shown."""
    with pytest.raises(ConfigError, match=r"'proxy\.site:3128' is not a usable") as caught:
        Proxy.parse(f"{scheme}user:{password}@proxy.site:3128")
    assert "%2F for /" in caught.value.remedy
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://a:1?x", "http://a:1#x", "http://a:1/x", "a:1?"])
def test_a_proxy_has_no_path_and_no_query(text: str) -> None:
    with pytest.raises(ConfigError, match="not a usable proxy URL"):
        Proxy.parse(text)
    assert Proxy.parse("http://a:1/") == Proxy.parse("a:1")


def reset(_: ProxyServer, near: socket.socket) -> None:
    """Hears something, and goes away without a farewell."""
    near.recv(1)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()


def web(_: ProxyServer, near: socket.socket) -> None:
    """Answers in HTTP whatever comes, as a plain proxy does to TLS."""
    near.recv(1 << 12)
    near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def silent(_: ProxyServer, near: socket.socket) -> None:
    while near.recv(1 << 12):
        pass


def dribble(_: ProxyServer, near: socket.socket) -> None:
    """Each byte in time, and never an end."""
    for sign in b"HTTP/1.1 200 " + b"x" * 40:
        time.sleep(0.05)
        near.sendall(bytes([sign]))


def greeting(*answers: bytes) -> Callable[[ProxyServer, socket.socket], None]:
    """A SOCKS proxy that says so, one answer to each thing it hears."""

    def answer(_: ProxyServer, near: socket.socket) -> None:
        for data in answers:
            near.recv(1 << 12)
            near.sendall(data)

    return answer


@pytest.mark.parametrize(
    ("scheme", "kind", "message", "remedy"),
    [
        ("http", reset, "the connection broke off|ended the connection", "HTTPS_PROXY"),
        ("socks5h", reset, "the connection broke off|ended the connection", "HTTPS_PROXY"),
        ("https", reset, "the connection broke off|TLS with it failed", "written with http://"),
        ("https", web, "TLS with it failed", "written with http://"),
        ("http", silent, "no answer in time", "HTTPS_PROXY"),
        ("socks5h", silent, "no answer in time", "HTTPS_PROXY"),
        ("https", silent, "no answer in time", "written with http://"),
        ("http", dribble, "no answer in time", "HTTPS_PROXY"),
        ("http", greeting(b"\x15\x03\x03\0\x02\x02\x32"), "doesn't answer in HTTP", "https://"),
        ("socks5h", greeting(b"\x05\x02"), "wants a user and a password", "user:password@host"),
        ("socks5h", greeting(b"\x05\xff"), "wants a user and a password", "user:password@host"),
        ("socks5h", greeting(b"\x05\x01"), "by method 1, which wasn't offered", "administrator"),
        ("socks5h", greeting(b"\x05\0", b"\x05\x04\0\x01"), "host can't be reached", "NO_PROXY"),
        ("http", greeting(b"HTTP/1.1 407 no\r\n\r\n"), "wants a user and a pass", "user:password@"),
        ("http", greeting(b"HTTP/1.1 502 no\r\n\r\n"), "refuses the way to store", "administrator"),
    ],
)  # fmt: skip
def test_a_fault_of_the_proxy_is_told_as_one(
    scheme: str, kind: Callable[..., None], message: str, remedy: str
) -> None:
    with proxy(kind) as through:
        waits = kind in (silent, dribble)
        way = Proxy.parse(f"{scheme}://127.0.0.1:{through.port}")
        error = fault_of(way, 0.4 if waits else 10)
    assert re.search(message, str(error))
    assert remedy in error.remedy
    assert error.silent is waits


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
def test_a_proxy_that_is_not_there(scheme: str) -> None:
    host = {"socks5": "127.0.0.1"}.get(scheme, "store.invalid")  # it would look that up first
    for where, message in (
        (f"127.0.0.1:{free_port()}", "can't be used: connection refused"),
        ("proxy.invalid:3128", "can't be used: its name is not known"),
    ):
        way = Proxy.parse(f"{scheme}://me:s3cret@{where}")
        with pytest.raises(ProxyError, match=f"the proxy {way} {message}") as caught:
            dial(host, 443, timeout=10, proxy=way, tls=ssl.create_default_context)
        assert '--proxy ""' in caught.value.remedy
        assert "s3cret" not in f"{caught.value} {caught.value.remedy}"


def test_a_host_that_is_not_known_is_no_fault_of_the_proxy() -> None:
    with proxy(socks) as through, pytest.raises(socket.gaierror):
        way = Proxy.parse(f"socks5://127.0.0.1:{through.port}")
        dial("store.invalid", 443, timeout=10, proxy=way)


@pytest.mark.parametrize(
    ("user", "password"), [("do:main", "se:cret"), ("me", ""), ("j\u00e4", "\u0142")]
)
def test_user_and_password_are_kept_apart(user: str, password: str) -> None:
    with mirror(None) as port, proxy(socks, leads_to=port) as through:
        through.wants_login = True
        login = f"{quote(user)}:{quote(password)}"
        way = Proxy.parse(f"socks5h://{login}@127.0.0.1:{through.port}")
        dial("10.9.8.7", 80, timeout=10, proxy=way).close()
    assert through.logins == [(user.encode(), password.encode())]


def test_a_socks_proxy_that_wants_neither_a_login_nor_none() -> None:
    with proxy(greeting(b"\x05\xff")) as through:
        error = fault_of(Proxy.parse(f"socks5h://me:s3cret@127.0.0.1:{through.port}"))
    assert "accepts neither a user and password nor a client without" in str(error)
    assert "s3cret" not in str(error)


def test_a_login_that_socks_cant_carry() -> None:
    with proxy(greeting(b"\x05\x02")) as through:
        error = fault_of(Proxy.parse(f"socks5h://me:{'x' * 256}@127.0.0.1:{through.port}"))
    assert "more than 255 bytes" in str(error)


@pytest.mark.parametrize(
    "host", ["a..example", ".a", "x" * 64 + ".example", "fa\u00df.de", "a b", ""]
)
@pytest.mark.parametrize("scheme", ["", "http", "socks5", "socks5h"])
def test_what_is_no_host(scheme: str, host: str) -> None:
    way = Proxy.parse(f"{scheme}://127.0.0.1:1") if scheme else None
    with pytest.raises(OSError, match="is no host: ") as caught:
        dial(host, 443, timeout=10, proxy=way, tls=ssl.create_default_context)
    assert not isinstance(caught.value, ProxyError)


@pytest.mark.parametrize("kind", [connect, socks])
def test_an_international_name_goes_by_its_ascii_form(kind: Callable[..., None]) -> None:
    scheme = "http" if kind is connect else "socks5h"
    with mirror(None) as port, proxy(kind, leads_to=port) as through:
        way = Proxy.parse(f"{scheme}://127.0.0.1:{through.port}")
        near = way_through(to(through), way, "\u0142.example", 443, seconds=10)
        near.close()
    assert "xn--tfa.example:443" in through.asked[0]


def to(through: ProxyServer) -> Callable[[], socket.socket]:
    return lambda: socket.create_connection(("127.0.0.1", through.port), 10)


def test_a_proxy_that_takes_nothing_more(authority: trustme.CA) -> None:
    """What carries bytes to it ends as well."""
    over = threading.Event()

    def deaf(server: ProxyServer, near: socket.socket) -> None:
        connect(server, near)
        over.wait(20)

    with proxy(deaf, tls=of(authority, "127.0.0.1")) as through:
        way = Proxy.parse(f"https://127.0.0.1:{through.port}")
        before = set(threading.enumerate())
        with way_through(to(through), way, "store.invalid", 443, seconds=1) as near:
            carrying = [t for t in set(threading.enumerate()) - before if t.name == "proxy"]
            near.settimeout(0.2)
            with pytest.raises(TimeoutError):
                near.sendall(bytes(64 << 20))
            for thread in carrying:
                thread.join(10)
                assert not thread.is_alive()
            assert carrying
        over.set()
