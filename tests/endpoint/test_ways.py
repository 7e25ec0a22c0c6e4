"""The ways to the cloud, through proxies of each kind; and what something on the way answers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from hardtack.core.backoff import Backoff
from hardtack.core.errors import ConfigError, UpstreamError
from hardtack.endpoint.delivery import Delivery
from hardtack.endpoint.ids import new_image_query
from hardtack.endpoint.outbox import Entry, Outbox
from hardtack.endpoint.upstream import Upstream
from tests.support.clouds import Cloud, running
from tests.support.ports import free_port
from tests.support.proxies import ProxyServer, connect, proxy, socks
from tests.support.waiting import until

ME = "/device-api/v1/me"
_ID = new_image_query()
_PARAMETERS = {"image_query_id": _ID, "detector_id": "det_" + "1" * 27}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running(Cloud()) as up:
        yield up


def through(monkeypatch: pytest.MonkeyPatch, url: str, **also: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    for name, value in also.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_a_cloud_behind_tls_is_reached_through_each_kind_of_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    of_cloud = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("cloud.invalid").configure_cert(of_cloud)
    of_proxy = None
    if kind == "https":
        of_proxy = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(of_proxy)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    ask = socks if kind == "socks5h" else connect
    with running(Cloud(), of_cloud) as cloud, proxy(ask, leads_to=cloud.port, tls=of_proxy) as way:
        through(monkeypatch, f"{kind}://127.0.0.1:{way.port}")
        upstream = Upstream("https://cloud.invalid", ca=tmp_path / "ca.pem", deadline=20)
        for _ in range(2):
            assert upstream.request("GET", ME).status == 200
        assert "cloud.invalid:443" in way.asked[0]
        assert way.connections == 1  # kept between requests
        upstream.close()
        strange = Upstream("https://elsewhere.invalid", ca=tmp_path / "ca.pem", deadline=20)
        with pytest.raises(UpstreamError, match=r"TLS: .*elsewhere"):
            strange.request("GET", ME)
        strange.close()


def test_a_cloud_without_tls_is_reached_by_socks(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(socks, leads_to=cloud.port) as way:
        through(monkeypatch, f"socks5h://127.0.0.1:{way.port}")
        upstream = Upstream("http://cloud.invalid", deadline=20)
        assert upstream.request("GET", ME).status == 200
        assert way.asked == ["SOCKS 3 cloud.invalid:80"]
        upstream.close()


def test_a_proxy_at_fault_is_named_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy(socks) as way:
        way.wants_login = True
        through(monkeypatch, f"socks5://127.0.0.1:{way.port}")
        upstream = Upstream("https://127.0.0.1:1", deadline=20)
        with pytest.raises(UpstreamError, match=r"wants a user and a password\. Write its user"):
            upstream.request("GET", ME)
        assert "wants a user" in upstream.breaker.reason
        upstream.close()


def test_a_cloud_that_refuses_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    upstream = Upstream(f"http://127.0.0.1:{free_port()}", deadline=20)
    with pytest.raises(UpstreamError, match="connection refused"):
        upstream.request("GET", ME)
    upstream.close()


def test_a_proxy_that_can_not_be_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("ftp://127.0.0.1:1", "http://user:p@ss@127.0.0.1:1"):
        through(monkeypatch, url)
        with pytest.raises(ConfigError, match="not a usable proxy URL") as told:
            Upstream("https://cloud.invalid")
        assert "user" not in told.value.message


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 407 no\r\ncontent-length: 0\r\n\r\n", "the proxy wants a user"),
        (
            b"HTTP/1.1 404 no\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\n<p>",
            "a web page",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 7\r\n\r\nsign in",
            "a web page",
        ),
    ],
)
def test_what_something_on_the_way_says_costs_the_queue_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, reason: str
) -> None:
    def refusing(server: ProxyServer, near: socket.socket) -> None:
        request = near.recv(1 << 16)
        server.asked.append(request.split(b"\r\n")[0].decode())
        near.sendall(answer)

    outbox = Outbox(tmp_path / "queue.sqlite")
    with proxy(refusing) as way:
        through(monkeypatch, f"http://127.0.0.1:{way.port}")
        upstream = Upstream("http://cloud.invalid", token="api_" + "1" * 20, deadline=20)
        delivery = Delivery(outbox, upstream, lambda *_: None)
        delivery.start()
        delivery.put(Entry(_ID, False, _PARAMETERS, "image/png", b"p"))
        until(lambda: reason in delivery.held, lambda: delivery.held)
        delivery.close()
        with pytest.raises(UpstreamError):
            upstream.request("GET", ME)
        upstream.close()
    told = outbox.status()
    assert told["size"] == 1
    assert not any(told["dropped"].values())
    outbox.close()


def test_a_queue_that_waits_for_a_token_says_so_and_goes_on_with_the_first(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    outbox = Outbox(tmp_path / "queue.sqlite")
    upstream = Upstream(cloud.url)
    never = Backoff(3600, 3600)  # the wait for a token is none of a failure
    delivery = Delivery(outbox, upstream, lambda *_: None, never)
    delivery.start()
    delivery.put(Entry(_ID, False, _PARAMETERS, "image/png", b"picture"))
    until(lambda: "set GROUNDLIGHT_API_TOKEN" in caplog.text)
    assert cloud.posts == 0
    upstream.request("GET", ME, token="api_" + "1" * 20)
    until(lambda: outbox.status()["size"] == 0)
    assert delivery.held == ""
    delivery.close()
    upstream.close()
    outbox.close()
