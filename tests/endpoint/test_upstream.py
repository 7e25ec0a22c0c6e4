"""A cloud whose replies come slowly or packed, and one that fails over a picture."""

from __future__ import annotations

import gzip
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hardtack.core.backoff import Backoff
from hardtack.core.errors import UpstreamError
from hardtack.endpoint.delivery import Delivery
from hardtack.endpoint.ids import new_image_query
from hardtack.endpoint.outbox import Entry, Outbox
from hardtack.endpoint.upstream import Upstream
from tests.support.clouds import Cloud, running
from tests.support.waiting import until

ME = "/device-api/v1/me"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running(Cloud()) as up:
        yield up


def test_replies_without_an_end_hold_nothing_up_for_longer_than_the_deadline(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    upstream = Upstream(cloud.url, deadline=0.2)
    cloud.mode = "trickle"
    for _ in range(12):  # more than are under way at once
        with pytest.raises(UpstreamError):
            upstream.request("GET", ME)
    cloud.mode = "ok"

    def answered() -> bool:
        try:
            return upstream.request("GET", ME).status == 200
        except UpstreamError:
            return False

    until(answered)
    upstream.close()


def test_a_picture_that_the_cloud_fails_over_holds_up_no_other(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    quick = Backoff(0.02, 0.02)
    monkeypatch.setattr("hardtack.endpoint.upstream._PROBING", quick)
    cloud.fatal = {b"fatal"}
    upstream = Upstream(cloud.url, token="api_" + "1" * 20)
    outbox = Outbox(tmp_path / "queue.sqlite")
    delivery = Delivery(outbox, upstream, lambda *_: None, quick)
    sent = [new_image_query() for _ in range(4)]
    for identity in sent:
        picture = b"fatal" if identity == sent[1] else b"picture"
        parameters = {"image_query_id": identity, "detector_id": "det_" + "1" * 27}
        outbox.put(Entry(identity, False, parameters, "image/png", picture))
    upstream.start()
    delivery.start()
    until(lambda: outbox.status()["size"] == 1, lambda: cloud.order)
    assert cloud.order == [sent[0], *sent[2:]]
    assert outbox.holds(sent[1])  # it is not lost, and asked again once the cloud has worked
    until(lambda: cloud.posts == 9, lambda: cloud.posts)
    delivery.close()
    upstream.close()
    outbox.close()


class _Packed(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        body = gzip.compress(json.dumps({"path": self.path, "much": "x" * 200_000}).encode())
        self.send_response(200)
        self.send_header("content-encoding", "gzip")
        if self.path.endswith("me"):
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 100):
                piece = body[start : start + 100]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


@pytest.mark.parametrize("path", [ME, ME + "/2"])
def test_packed_replies_are_unpacked_or_passed_on_as_they_are(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Packed)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    upstream = Upstream(f"http://127.0.0.1:{server.server_address[1]}")
    for _ in range(2):  # over one connection
        assert upstream.request("GET", path).json()["path"] == path
        streamed = upstream.stream("GET", path, "", None, {})
        assert json.loads(gzip.decompress(b"".join(streamed.pieces)))["path"] == path
    upstream.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_fault_of_the_queue_is_told_and_it_goes_on(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("hardtack.endpoint.delivery._AFTER_FAULT", 0.01)
    outbox = Outbox(tmp_path / "queue.sqlite")
    upstream = Upstream(cloud.url, token="api_" + "1" * 20)
    delivery = Delivery(outbox, upstream, lambda *_: None)
    first, faults = outbox.first, iter([sqlite3.OperationalError("disk I/O error")])

    def failing_once(*, besides: set[str]) -> Entry | None:
        for fault in faults:
            raise fault
        return first(besides=besides)

    monkeypatch.setattr(outbox, "first", failing_once)
    delivery.start()
    identity = new_image_query()
    parameters = {"image_query_id": identity, "detector_id": "det_" + "1" * 27}
    delivery.put(Entry(identity, False, parameters, "image/png", b"picture"))
    until(lambda: outbox.status()["size"] == 0)
    assert "can't be worked through" in caplog.text
    delivery.close()
    upstream.close()
    outbox.close()
