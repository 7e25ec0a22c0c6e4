"""A proxy at fault is told as one, whatever store lies behind it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socket import socket

import pytest
import trustme

from hardtack.core.errors import SourceUnreachable
from hardtack.source.api import ObjectInfo, Source
from hardtack.source.open import open_source
from hardtack.source.options import SourceOptions
from tests.source.reading import listing, read
from tests.support.faulty import BUCKET, faulty_server, md5
from tests.support.ports import free_port
from tests.support.proxies import ProxyServer, connect, proxy

STORES = ("s3", "gs", "az")
DATA = b"weights" * 1000
INFO = ObjectInfo("key", len(DATA), md5(DATA), 0)
QUICK = SourceOptions(
    endpoint_url="https://store.invalid", unsigned=True, progress_deadline=0.3, attempts=3,
    deadline=20,
)  # fmt: skip


@contextmanager
def opened(store: str, options: SourceOptions) -> Iterator[Source]:
    source = open_source(f"{store}://{BUCKET}", options)
    try:
        yield source
    finally:
        source.close()


def told(store: str, options: SourceOptions) -> SourceUnreachable:
    """How a listing fails."""
    with opened(store, options) as source, pytest.raises(SourceUnreachable) as caught:
        listing(source)
    assert "s3cret" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
def test_a_proxy_that_is_not_there(store: str, scheme: str) -> None:
    where = f"127.0.0.1:{free_port()}"
    error = told(store, replace(QUICK, proxy=f"{scheme}://me:s3cret@{where}", attempts=1))
    assert f"the proxy {scheme}://{where} can't be used: connection refused." in error.message
    assert '--proxy ""' in error.remedy


@pytest.mark.parametrize("store", STORES)
def test_a_proxy_for_plain_requests_that_wants_a_login(store: str) -> None:
    """It answers in the store's place."""

    def refusing(_: ProxyServer, near: socket) -> None:
        near.recv(1 << 16)
        near.sendall(b"HTTP/1.1 407 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    with proxy(refusing) as way:
        url = f"http://127.0.0.1:{way.port}"
        options = replace(QUICK, endpoint_url="http://store.invalid", proxy=url)
        error = told(store, options)
    assert "a proxy on the way to http://store.invalid wants a user and a password" in error.message
    assert "user:password@host" in error.remedy


def test_a_proxy_for_plain_requests_that_is_not_there() -> None:
    """It would be handed them whole."""
    options = replace(QUICK, endpoint_url="http://store.invalid", attempts=1)
    error = told("s3", replace(options, proxy=f"http://127.0.0.1:{free_port()}"))
    assert "can't be used: connection refused." in error.message
    assert "--proxy" in error.remedy


@pytest.mark.parametrize("store", STORES)
def test_a_proxys_certificate_is_not_the_stores(store: str) -> None:
    """What trusts the store's certificate doesn't count for it; and nobody asks twice."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with authority.cert_pem.tempfile() as ca, proxy(tls=context) as way:
        options = replace(QUICK, ca_bundle=ca, proxy=f"https://127.0.0.1:{way.port}")
        error = told(store, replace(options, progress_deadline=10.0))
        assert way.connections == 1
    assert f"the proxy https://127.0.0.1:{way.port} can't be used: its certificate" in error.message
    assert "SSL_CERT_FILE" in error.remedy
    assert "CA bundle" not in error.remedy


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
def test_a_silent_proxy_is_waited_for_once(scheme: str) -> None:
    def silent(_: ProxyServer, near: socket) -> None:
        while near.recv(1 << 12):
            pass

    with proxy(silent) as way:
        error = told("s3", replace(QUICK, proxy=f"{scheme}://127.0.0.1:{way.port}"))
        assert way.connections == 1
    assert f"the proxy {scheme}://127.0.0.1:{way.port} can't be used: no answer" in error.message


def test_a_proxy_that_led_there_may_be_silent_for_a_while(tmp_path: Path) -> None:
    """A link that breaks for a moment breaks no transfer."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority = trustme.CA()
    authority.issue_cert("store.invalid").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def pauses(server: ProxyServer, near: socket) -> tuple[str, int] | None:
        if server.connections != 2:
            return connect(server, near)
        while near.recv(1 << 12):
            pass
        return None

    with faulty_server(tls=context) as store, proxy(pauses, leads_to=store.port) as way:
        store.objects["key"] = DATA
        options = replace(
            QUICK, ca_bundle=str(tmp_path / "ca.pem"), proxy=f"http://127.0.0.1:{way.port}"
        )
        patient = replace(options, progress_deadline=2.0, connections=0)  # each request its own
        with opened("s3", patient) as source:
            assert read(source, INFO) == DATA
            assert read(source, INFO) == DATA
        assert way.connections == 3
