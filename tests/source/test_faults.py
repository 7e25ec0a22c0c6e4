"""What an S3 source does when the store, or the network before it, misbehaves."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from hardtack.core.errors import (
    AccessDenied,
    CorruptReply,
    NotFound,
    ObjectChanged,
    SourceError,
    SourceUnreachable,
)
from hardtack.source.api import ObjectInfo
from hardtack.source.azure import AzureDialect
from hardtack.source.dialect import Dialect
from hardtack.source.google import GoogleDialect
from hardtack.source.options import SourceOptions
from hardtack.source.s3 import S3Dialect
from hardtack.source.store import StoreSource
from tests.source.reading import listing, read
from tests.support.faulty import (
    BUCKET,
    Behaviour,
    FaultyServer,
    Request,
    Script,
    always,
    at_random,
    error,
    faulty_server,
    first,
    flapping,
    md5,
    slowly,
    with_etag,
)
from tests.support.ports import free_port
from tests.support.proxies import connect, proxy, socks

DATA = random.Random(3).randbytes(400_000)
INFO = ObjectInfo("key", len(DATA), md5(DATA), 0)
ENV = {"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret-never-shown"}
QUICK = SourceOptions(progress_deadline=0.3, attempts=4, deadline=4, minimum_rate=1000)


_made: list[StoreSource] = []


@pytest.fixture(autouse=True)
def close_sources() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def new_source(
    bucket: str, prefix: str, options: SourceOptions, env: dict[str, str]
) -> StoreSource:
    """A source that is closed after the test."""
    _made.append(StoreSource(S3Dialect(bucket, options, env), prefix, options))
    return _made[-1]


def source_of(endpoint: str, options: SourceOptions = QUICK) -> StoreSource:
    return new_source(BUCKET, "", replace(options, endpoint_url=endpoint), ENV)


def store_of(server: FaultyServer, options: SourceOptions = QUICK) -> StoreSource:
    server.objects["key"] = DATA
    return source_of(server.endpoint, options)


RECOVERED: dict[str, Callable[[], Script]] = {
    "500 twice": lambda: first(2, error(500, "InternalError")),
    "503 twice": lambda: first(2, error(503, "ServiceUnavailable")),
    "SlowDown twice": lambda: first(2, error(503, "SlowDown")),
    "429": lambda: first(1, error(429, "TooManyRequests")),
    "request time-out": lambda: first(1, error(400, "RequestTimeout")),
    "silent once": lambda: first(1, Behaviour(silent=True)),
    "truncated thrice": lambda: first(3, Behaviour(cut=100_000)),
    "cut at once": lambda: first(2, Behaviour(cut=0)),
    "stalled twice": lambda: first(2, Behaviour(stall=70_000)),
    "reset": lambda: first(2, Behaviour(cut=50_000, reset=True)),
    "1 % reset": lambda: at_random(0.01, Behaviour(cut=0, reset=True)),
    "one byte a second, once": lambda: first(1, Behaviour(piece=1, pause=0.25)),
    "flapping": lambda: flapping(0.4, Behaviour(cut=0, reset=True)),
    "slow start": lambda: always(Behaviour(delay=0.2)),
}


@pytest.mark.parametrize("name", RECOVERED)
def test_passing_faults_cost_no_byte(name: str) -> None:
    script = RECOVERED[name]()
    with faulty_server(script) as server:
        assert read(store_of(server), INFO) == DATA


def test_a_body_goes_on_where_it_broke() -> None:
    unhurried = replace(QUICK, progress_deadline=20.0)  # no request may be repeated for slowness
    with faulty_server(first(2, Behaviour(cut=100_000))) as server:
        assert read(store_of(server, unhurried), INFO) == DATA
    ranges = [request.headers["range"] for request in server.requests]
    assert ranges == ["bytes=0-399999", "bytes=100000-399999", "bytes=200000-399999"]
    assert {request.headers["if-match"] for request in server.requests} == {f'"{INFO.etag}"'}


def test_a_body_that_breaks_often_but_moves_is_read() -> None:
    with faulty_server(always(Behaviour(cut=70_000))) as server:
        source = store_of(server)
        assert read(source, INFO) == DATA


def test_a_slow_link_is_no_fault() -> None:
    with faulty_server(always(slowly(50_000))) as server:
        unhurried = replace(QUICK, progress_deadline=20.0)
        assert read(store_of(server, unhurried), INFO, 0, 100_000) == DATA[:100_000]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(silent=True),
        Behaviour(stall=10),
        Behaviour(cut=0, reset=True),
        Behaviour(piece=1, pause=0.2),
        error(503, "SlowDown"),
        error(500, "InternalError"),
    ],
    ids=["silent", "stalled", "reset", "one byte at a time", "SlowDown", "500"],
)
def test_faults_that_last_end_with_unreachable(behaviour: Behaviour) -> None:
    with faulty_server(always(behaviour)) as server:
        source = store_of(server)
        with pytest.raises(SourceUnreachable, match=r"s3://bucket/key.*127\.0\.0\.1"):
            read(source, INFO)
        assert len(server.requests) <= 2 * QUICK.attempts
        with pytest.raises(SourceUnreachable, match="listing of s3://bucket/"):
            listing(source)


def test_nobody_listens() -> None:
    source = source_of(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SourceUnreachable, match="connection refused"):
        listing(source)


def test_the_name_is_unknown() -> None:
    with pytest.raises(SourceUnreachable, match=r"store\.invalid.*name is not known"):
        listing(source_of("http://store.invalid"))


WRONG = {
    "200 to a range": (Behaviour(whole=True), CorruptReply, "status 200"),
    "another range": (
        Behaviour(headers={"Content-Range": f"bytes 5-104/{len(DATA)}"}),
        CorruptReply,
        "Content-Range",
    ),
    "another size": (
        Behaviour(headers={"Content-Range": "bytes 10-109/110"}),
        CorruptReply,
        "Content-Range",
    ),
    "no range": (Behaviour(headers={"Content-Range": None}), CorruptReply, "Content-Range"),
    "another length": (Behaviour(headers={"Content-Length": "7"}), CorruptReply, "length of 100"),
    "no length": (Behaviour(headers={"Content-Length": None}), CorruptReply, "length of 100"),
    "another ETag": (with_etag(Behaviour(), "f" * 32), ObjectChanged, "ETag ffff"),
    "no ETag": (Behaviour(headers={"ETag": None}), CorruptReply, "ETag"),
    "412": (error(412, "PreconditionFailed"), ObjectChanged, "replaced"),
    "416": (error(416, "InvalidRange"), ObjectChanged, "replaced"),
    "404": (error(404, "NoSuchKey"), ObjectChanged, "gone"),
    "400": (error(400, "InvalidArgument"), SourceError, "400 InvalidArgument"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_reply_is_refused(name: str) -> None:
    behaviour, expected, words = WRONG[name]
    with faulty_server(always(behaviour)) as server:
        source = store_of(server)
        with pytest.raises(expected, match=words) as caught:
            read(source, INFO, 10, 110)
    assert caught.type is expected
    assert len(server.requests) == 1


def test_200_for_the_whole_object_will_do() -> None:
    with faulty_server(always(Behaviour(whole=True))) as server:
        assert read(store_of(server), INFO) == DATA


def test_another_version_on_resuming_is_never_mixed_in() -> None:
    def script(request: object, n: int) -> Behaviour:
        return Behaviour(cut=1000) if n == 0 else with_etag(Behaviour(), "0" * 32)

    with faulty_server(script) as server:
        with pytest.raises(ObjectChanged):
            read(store_of(server), INFO)


def test_corrupted_bytes_arrive_as_they_are() -> None:
    """TCP's own checksum passed, so only the cache's checksums can tell."""
    with faulty_server(always(Behaviour(corrupt=True))) as server:
        assert read(store_of(server), INFO)[1:] == DATA[1:]


def test_a_listing_cut_short_is_fetched_anew() -> None:
    with faulty_server(first(2, Behaviour(cut=60))) as server:
        assert set(listing(store_of(server))) == {"key"}


@pytest.mark.parametrize(
    "body",
    [
        b"not XML",
        b"<Other/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>',
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size><ETag>e</ETag>"
        b"<LastModified>2026-01-31T12:00:00Z</LastModified></Contents></ListBucketResult>",
    ],
)
def test_a_listing_that_is_none_is_refused(body: bytes) -> None:
    with faulty_server(always(Behaviour(status=200, body=body))) as server:
        with pytest.raises(CorruptReply, match="s3://bucket/"):
            listing(store_of(server))


PAGE = b"\n<!DOCTYPE html><html><body>Please sign in</body></html>"
HTML: dict[str, str | None] = {"Content-Type": "text/html; charset=utf-8"}
PORTALS = {
    "200": (Behaviour(status=200, body=PAGE, headers=HTML), "web page"),
    "200 of no type": (Behaviour(status=200, body=PAGE), "web page|ETag"),
    "404": (Behaviour(status=404, body=PAGE, headers=HTML), "404 with a web page"),
    "403": (Behaviour(status=403, body=PAGE, headers=HTML), "403 with a web page"),
    "511": (Behaviour(status=511), "511 with a web page"),
    "302": (
        Behaviour(status=302, headers={"Location": "http://portal.example/?signed=secret"}),
        r"redirects to portal\.example \(302\)",
    ),
    "303": (Behaviour(status=303, headers={"Location": "http://[bad"}), "redirects elsewhere"),
}


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
@pytest.mark.parametrize("name", PORTALS)
def test_a_sign_in_page_in_place_of_the_store(name: str, scheme: str) -> None:
    """Neither is an object gone, nor are credentials wrong, for what a portal answers."""
    behaviour, words = PORTALS[name]
    env = {"AZURE_STORAGE_ACCOUNT": "site"}
    with faulty_server(always(behaviour)) as server:
        options = SourceOptions(
            endpoint_url=server.endpoint, path_style=True, unsigned=True, attempts=2
        )
        dialects: dict[str, Callable[..., Dialect]] = {
            "s3": S3Dialect,
            "gs": GoogleDialect,
            "az": AzureDialect,
        }
        source = StoreSource(dialects[scheme](BUCKET, options, env), "", options)
        with pytest.raises(SourceError, match=rf"listing of {scheme}://bucket/.*{words}") as caught:
            listing(source)
        assert "sign-in page" in caught.value.remedy and "--endpoint-url" in caught.value.remedy
        assert "secret" not in str(caught.value)
        with pytest.raises(SourceError, match=rf"{scheme}://bucket/key.*{words}") as caught:
            read(source, INFO)
        assert not isinstance(caught.value, ObjectChanged | AccessDenied)
        source.close()


def test_a_denied_request_names_key_and_access_key_but_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with faulty_server(always(error(403, "AccessDenied"))) as server:
        with pytest.raises(AccessDenied, match=r"s3://bucket/key.*AKIDTEST") as caught:
            read(store_of(server), INFO)
    assert len(server.requests) == 1
    for text in (str(caught.value), repr(caught.value), caplog.text):
        assert "secret-never-shown" not in text
        assert "Signature=" not in text


def test_a_wrong_clock_is_named() -> None:
    with faulty_server(always(error(403, "RequestTimeTooSkewed"))) as server:
        with pytest.raises(AccessDenied, match="clock"):
            read(store_of(server), INFO)


def test_credentials_are_read_again_after_a_403(tmp_path: Path) -> None:
    keys = tmp_path / "credentials"

    def write(access: str) -> None:
        keys.write_text(f"[default]\naws_access_key_id={access}\naws_secret_access_key=x\n")

    def script(request: Request, n: int) -> Behaviour:
        if "Credential=NEW/" in request.headers["authorization"]:
            return Behaviour()
        write("NEW")
        return error(403, "InvalidAccessKeyId")

    write("OLD")
    with faulty_server(script) as server:
        server.objects["key"] = DATA
        options = replace(QUICK, endpoint_url=server.endpoint)
        env = {"AWS_SHARED_CREDENTIALS_FILE": str(keys), "AWS_CONFIG_FILE": "/dev/null"}
        source = new_source(BUCKET, "", options, env)
        assert read(source, INFO) == DATA
        assert len(server.requests) == 2


def test_the_wrong_region_is_corrected(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = error(301, "PermanentRedirect")
    elsewhere = replace(elsewhere, headers={"x-amz-bucket-region": "eu-west-3"})
    with faulty_server(first(1, elsewhere)) as server:
        assert read(store_of(server), INFO) == DATA
        assert "/eu-west-3/s3/" in server.requests[1].headers["authorization"]
    assert "eu-west-3" in caplog.text


def test_the_region_in_the_body_counts_too() -> None:
    wrong = error(400, "AuthorizationHeaderMalformed", "<Region>ap-south-1</Region>")
    with faulty_server(first(1, wrong)) as server:
        assert read(store_of(server), INFO) == DATA
        assert "/ap-south-1/s3/" in server.requests[1].headers["authorization"]


def test_endless_redirects_end_with_the_region_named() -> None:
    elsewhere = error(301, "PermanentRedirect")
    with faulty_server(always(elsewhere)) as server:
        with pytest.raises(SourceError, match=r"redirects elsewhere.*us-east-1"):
            read(store_of(server), INFO)


def test_no_such_bucket() -> None:
    with faulty_server(always(error(404, "NoSuchBucket"))) as server:
        with pytest.raises(NotFound, match="no bucket bucket"):
            listing(store_of(server))


def test_an_empty_bucket_lists_nothing_and_an_empty_prefix_is_not_found() -> None:
    with faulty_server() as server:
        assert listing(source_of(server.endpoint)) == {}
        options = replace(QUICK, endpoint_url=server.endpoint)
        with pytest.raises(NotFound, match="nowhere/ in s3://bucket"):
            listing(new_source(BUCKET, "nowhere", options, ENV))


def tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_is_verified(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    with faulty_server(tls=tls(authority, "127.0.0.1")) as server:
        server.objects["key"] = DATA
        options = replace(QUICK, endpoint_url=server.endpoint)
        right = new_source(BUCKET, "", replace(options, ca_bundle=str(tmp_path / "ca.pem")), ENV)
        assert read(right, INFO) == DATA
        bundle = {**ENV, "AWS_CA_BUNDLE": str(tmp_path / "ca.pem")}
        assert read(new_source(BUCKET, "", options, bundle), INFO) == DATA
        for bad in (options, replace(options, ca_bundle=str(tmp_path / "other.pem"))):
            with pytest.raises(SourceUnreachable, match=r"certificate is not trusted.*CA bundle"):
                read(new_source(BUCKET, "", bad, ENV), INFO)
        right.close()
        assert "insecure" not in caplog.text
        assert read(new_source(BUCKET, "", replace(options, insecure=True), ENV), INFO) == DATA
        assert "insecure" in caplog.text


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with faulty_server(tls=tls(authority, "elsewhere.test")) as server:
        options = replace(QUICK, endpoint_url=server.endpoint, ca_bundle=str(tmp_path / "ca.pem"))
        with pytest.raises(SourceUnreachable, match="certificate is not trusted"):
            read(new_source(BUCKET, "", options, ENV), INFO)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
def test_tls_passes_through_a_proxy_untouched(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    outer = tls(authority, "127.0.0.1") if scheme == "https" else None
    with (
        faulty_server(tls=tls(authority, "store.invalid")) as server,
        proxy(socks if scheme == "socks5h" else connect, leads_to=server.port, tls=outer) as way,
    ):
        server.objects["key"] = DATA
        options = replace(
            QUICK,
            endpoint_url="https://store.invalid",
            ca_bundle=str(tmp_path / "ca.pem"),
            proxy=f"{scheme}://user:pass@127.0.0.1:{way.port}",
        )
        source = new_source(BUCKET, "", options, ENV)
        assert read(source, INFO) == DATA
        source.close()
    if scheme == "socks5h":
        assert way.asked[0] == "SOCKS 3 store.invalid:443"
    else:
        assert way.asked[0].startswith("CONNECT store.invalid:443 ")
        assert "Proxy-Authorization: Basic " in way.asked[0]
    assert "proxy-authorization" not in server.requests[0].headers


def test_requests_pass_through_a_proxy() -> None:
    """The faulty server plays the proxy: it is asked for an absolute URL of another host."""
    with faulty_server() as middle:
        middle.objects["key"] = DATA
        options = replace(QUICK, endpoint_url="http://store.invalid")
        env_proxy = f"http://user:pass@127.0.0.1:{middle.port}"
        source = new_source(BUCKET, "", replace(options, proxy=env_proxy), ENV)
        assert read(source, INFO) == DATA
        assert middle.requests[0].headers["host"] == "store.invalid"
        assert middle.requests[0].headers["proxy-authorization"].startswith("Basic ")


def test_the_environments_proxy_counts_unless_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_server() as middle, faulty_server() as store:
        store.objects["key"] = DATA
        monkeypatch.setenv("http_proxy", middle.endpoint)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert read(source_of(store.endpoint), INFO) == DATA
        monkeypatch.setenv("no_proxy", "")
        middle.objects["key"] = DATA
        assert read(source_of("http://store.invalid"), INFO) == DATA
    assert len(store.requests) == len(middle.requests) == 1


def test_unsigned_requests_carry_no_signature() -> None:
    with faulty_server() as server:
        server.objects["key"] = DATA
        options = replace(QUICK, endpoint_url=server.endpoint, unsigned=True)
        assert read(new_source(BUCKET, "", options, {}), INFO) == DATA
    assert "authorization" not in server.requests[0].headers
