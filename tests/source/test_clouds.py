"""What Google's and Azure's stores share with S3: nothing of a reply is taken on trust.

The client is the one that test_faults.py tries on S3; here is what shows that they go through it.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import ssl
from collections.abc import Iterator
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
from hardtack.source.api import Checksum, ObjectInfo
from hardtack.source.azure import AzureDialect
from hardtack.source.dialect import Dialect
from hardtack.source.google import GoogleDialect
from hardtack.source.options import SourceOptions
from hardtack.source.store import StoreSource
from tests.source.reading import listing, read
from tests.support.faulty import (
    BUCKET,
    Behaviour,
    FaultyServer,
    Script,
    always,
    error,
    faulty_server,
    first,
    md5,
    with_etag,
)
from tests.support.gcs import GCSServer
from tests.support.ports import free_port

DATA = random.Random(3).randbytes(400_000)
INFO = ObjectInfo("key", len(DATA), md5(DATA), 0)
QUICK = SourceOptions(progress_deadline=0.3, attempts=4, deadline=4, unsigned=True)


class Cloud:
    """Sources of one kind, closed at the end."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self._made: list[StoreSource] = []

    def source(
        self, endpoint: str, prefix: str = "", options: SourceOptions = QUICK
    ) -> StoreSource:
        options = replace(options, endpoint_url=endpoint)
        dialect: Dialect = (
            GoogleDialect(BUCKET, options, {})
            if self.scheme == "gs"
            else AzureDialect(BUCKET, options, {})
        )
        self._made.append(StoreSource(dialect, prefix, options))
        return self._made[-1]

    def of(self, server: FaultyServer) -> StoreSource:
        server.objects["key"] = DATA
        return self.source(server.endpoint)

    def close(self) -> None:
        for source in self._made:
            source.close()


@pytest.fixture(params=["gs", "az"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    cloud = Cloud(request.param)
    yield cloud
    cloud.close()


def test_a_body_goes_on_where_it_broke(cloud: Cloud) -> None:
    with faulty_server(first(2, Behaviour(cut=100_000))) as server:
        server.objects["key"] = DATA
        unhurried = replace(QUICK, progress_deadline=20.0)
        assert read(cloud.source(server.endpoint, options=unhurried), INFO) == DATA
    ranges = [request.headers["range"] for request in server.requests]
    assert ranges == ["bytes=0-399999", "bytes=100000-399999", "bytes=200000-399999"]
    assert {request.headers["if-match"] for request in server.requests} == {f'"{INFO.etag}"'}


@pytest.mark.parametrize(
    "script",
    [
        first(1, error(503, "ServerBusy")),
        first(1, error(429, "rateLimitExceeded")),
        first(1, Behaviour(stall=70_000)),
        first(1, Behaviour(cut=50_000, reset=True)),
    ],
    ids=["503", "429", "stalled", "reset"],
)
def test_passing_faults_cost_no_byte(cloud: Cloud, script: Script) -> None:
    with faulty_server(script) as server:
        assert read(cloud.of(server), INFO) == DATA


def test_a_fault_that_lasts_ends_with_unreachable(cloud: Cloud) -> None:
    with faulty_server(always(Behaviour(stall=10))) as server:
        server.objects["key"] = DATA
        brief = cloud.source(server.endpoint, options=replace(QUICK, attempts=2))
        with pytest.raises(SourceUnreachable, match=rf"{cloud.scheme}://bucket/key.*127\.0\.0\.1"):
            read(brief, INFO)
        assert len(server.requests) == 2


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
    "another length": (Behaviour(headers={"Content-Length": "7"}), CorruptReply, "length of 100"),
    "another ETag": (with_etag(Behaviour(), "0x8DC"), ObjectChanged, "ETag 0x8DC"),
    "no ETag": (Behaviour(headers={"ETag": None}), CorruptReply, "ETag"),
    "412": (error(412, "ConditionNotMet"), ObjectChanged, "replaced"),
    "416": (error(416, "InvalidRange"), ObjectChanged, "replaced"),
    "404": (error(404, "BlobNotFound"), ObjectChanged, "gone"),
    "409": (error(409, "BlobArchived"), SourceError, "409 BlobArchived"),
    "302": (error(302, ""), SourceError, "redirects elsewhere"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_reply_is_refused(cloud: Cloud, name: str) -> None:
    behaviour, expected, words = WRONG[name]
    with faulty_server(always(behaviour)) as server:
        with pytest.raises(expected, match=words) as caught:
            read(cloud.of(server), INFO, 10, 110)
    assert caught.type is expected
    assert len(server.requests) == 1


def test_another_version_on_resuming_is_never_mixed_in(cloud: Cloud) -> None:
    def script(request: object, n: int) -> Behaviour:
        return Behaviour(cut=1000) if n == 0 else with_etag(Behaviour(), "0" * 32)

    with faulty_server(script) as server:
        with pytest.raises(ObjectChanged):
            read(cloud.of(server), INFO)


def test_every_key_is_listed_once(cloud: Cloud) -> None:
    keys = [f"m/p{n % 7}/k{n:05}" for n in range(2_001)] + [
        f"m/a{c}{n}" for c in "-./0" for n in "12"
    ]
    with faulty_server() as server:
        server.objects = dict.fromkeys([*keys, "mm", "n"], b"x")
        assert set(listing(cloud.source(server.endpoint, "m"))) == {key[2:] for key in keys}


def test_keys_that_are_no_paths_are_listed_as_they_are(cloud: Cloud) -> None:
    keys = {"dir/", "dir/x", "a//b", "/c", "../d", "100%", "a%41", "e+f g", "h/./i"}
    with faulty_server() as server:
        server.objects = {key: key.encode() for key in keys}
        source = cloud.source(server.endpoint)
        found = listing(source)
        assert {key: read(source, info).decode() for key, info in found.items()} == {
            key: key for key in keys
        }


def test_an_empty_bucket_lists_nothing_and_an_empty_prefix_is_not_found(cloud: Cloud) -> None:
    with faulty_server() as server:
        assert listing(cloud.source(server.endpoint)) == {}
        with pytest.raises(NotFound, match=rf"nowhere/ in {cloud.scheme}://bucket"):
            listing(cloud.source(server.endpoint, "nowhere"))


@pytest.mark.parametrize(
    "body",
    [
        b"not XML",
        b"<Other/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><EnumerationResults>&b;</EnumerationResults>',
        b"<EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs></EnumerationResults>",
        b"<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Etag>e</Etag>"
        b"<Content-Length>-1</Content-Length><Last-Modified>Sat, 31 Jan 2026 12:00:00 GMT"
        b"</Last-Modified></Properties></Blob></Blobs></EnumerationResults>",
        b"<EnumerationResults><Blobs><Blob><Name>a</Name><Properties><Etag>e</Etag>"
        b"<Content-Length>1</Content-Length><Last-Modified>yesterday</Last-Modified>"
        b"</Properties></Blob></Blobs></EnumerationResults>",
    ],
)
def test_a_listing_that_is_none_is_refused(cloud: Cloud, body: bytes) -> None:
    with faulty_server(always(Behaviour(status=200, body=body))) as server:
        with pytest.raises(CorruptReply, match=f"{cloud.scheme}://bucket/"):
            listing(cloud.of(server))


@pytest.mark.parametrize("code", ["NoSuchBucket", "ContainerNotFound", "ResourceNotFound"])
def test_no_such_bucket(cloud: Cloud, code: str) -> None:
    noun = "bucket" if cloud.scheme == "gs" else "container"
    with faulty_server(always(error(404, code))) as server:
        with pytest.raises(NotFound, match=f"no {noun} bucket.*isn't public"):
            listing(cloud.of(server))


def test_an_unsigned_request_that_is_refused(cloud: Cloud) -> None:
    for status, code in ((401, "NoAuthenticationInformation"), (409, "PublicAccessNotPermitted")):
        with faulty_server(always(error(status, code))) as server:
            with pytest.raises(AccessDenied, match=r"unsigned requests.*Give credentials"):
                listing(cloud.of(server))
            assert "authorization" not in server.requests[0].headers


def test_a_wrong_clock_is_named(cloud: Cloud) -> None:
    refused = replace(
        error(403, "AuthenticationFailed"), headers={"Date": "Sat, 31 Jan 2026 12:00:00 GMT"}
    )
    with faulty_server(always(refused)) as server:
        with pytest.raises(AccessDenied, match="clock is wrong"):
            listing(cloud.of(server))


def test_nobody_listens_and_nobody_knows_the_name(cloud: Cloud) -> None:
    brief = replace(QUICK, attempts=1)
    with pytest.raises(SourceUnreachable, match="connection refused"):
        listing(cloud.source(f"http://127.0.0.1:{free_port()}", options=brief))
    with pytest.raises(SourceUnreachable, match=r"store\.invalid.*name is not known"):
        listing(cloud.source("http://store.invalid", options=brief))


def test_tls_is_verified(cloud: Cloud, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with faulty_server(tls=context) as server:
        with pytest.raises(SourceUnreachable, match=r"certificate is not trusted.*CA bundle"):
            read(cloud.of(server), INFO)
        trusting = replace(QUICK, ca_bundle=str(tmp_path / "ca.pem"))
        assert read(cloud.source(server.endpoint, options=trusting), INFO) == DATA


def test_what_google_keeps_compressed_is_read_as_it_is_kept(gcs: GCSServer) -> None:
    """Unasked, the store unpacks it on its way, and serves no range of it."""
    kept = gzip.compress(b"weights " * 1000)
    gcs.create_bucket("compressed")
    gcs.put("compressed", "key", kept, encoding="gzip")
    options = replace(QUICK, endpoint_url=gcs.endpoint)
    source = StoreSource(GoogleDialect("compressed", options, {}), "", options)
    info = listing(source)["key"]
    assert read(source, info) == kept
    assert read(source, info, 10, 20) == kept[10:20]
    assert source.checksum(info) == Checksum("md5", hashlib.md5(kept).digest())
    source.close()
