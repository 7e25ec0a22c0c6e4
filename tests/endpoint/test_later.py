"""Image queries that are answered behind the caller's back: none is lost without a word."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint import answers, ids
from hardtack.endpoint.api import Api, Limits
from hardtack.endpoint.book import Book
from hardtack.endpoint.cloud import Picture
from hardtack.endpoint.detectors import read_detectors
from hardtack.endpoint.inferring import Inferring
from hardtack.endpoint.inforce import InForce
from hardtack.endpoint.known import Known
from hardtack.endpoint.metrics import Metrics
from hardtack.endpoint.query import Asked, Refused
from hardtack.endpoint.service import Service
from hardtack.endpoint.store import Kept, Store
from tests.support.backends import FakeBackend
from tests.support.endpoints import endpoint, write_detectors, write_models
from tests.support.waiting import until

ZERO = SAMPLES[5]
LATER = Asked(ZERO.id, want_async=True)
PICTURE = Picture(b"picture", "image/png")


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], Service]:
    """Services over one state, as after a start each; what they open, a test closes."""
    models = write_models(tmp_path, [ZERO])
    detectors = read_detectors(write_detectors(tmp_path / "detectors.yaml", [ZERO]), models)
    (tmp_path / "state").mkdir()

    def service() -> Service:
        backend = FakeBackend(models)
        asyncio.run(backend.start())
        backend.want(frozenset({ZERO.id}))
        book = Book(detectors, tmp_path / "detectors.json")
        known = Known(book, models, InForce(None, tmp_path / "edge.yaml"))
        return Service(known, backend, Store(tmp_path / "state"), Inferring(), Metrics())

    return service


def refused_later(monkeypatch: pytest.MonkeyPatch, reason: str) -> asyncio.Event:
    """When it is set, all servers refuse what they were asked, for that `reason`."""
    answering = asyncio.Event()

    async def infer(*_: object) -> None:
        await answering.wait()
        raise Refused(503, reason)

    monkeypatch.setattr(Inferring, "infer", infer)
    return answering


def asked_and_left(service: Service) -> str:
    """An image query that nobody will answer any more."""
    detector = service.known.detector(ZERO.id)
    identity = ids.new_image_query()
    body = answers.image_query(
        identity, detector, None,
        threshold=0.9, patience=30.0, metadata=None, seconds=1.0, done=False,
    )  # fmt: skip
    service.store.add(Kept(body, b"picture", "image/png", 1.0))
    return identity


def test_a_disk_that_keeps_nothing_is_told_at_once(tmp_path: Path) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    with endpoint(tmp_path, models, detectors) as served:
        images = tmp_path / "state/images"
        images.rename(tmp_path / "before")
        images.touch()
        refused = served.submit(ZERO, want_async="true")
        assert refused.status == 503 and refused.headers["retry-after"]
        assert "can't be kept" in refused.json()["detail"]
        assert served.submit(ZERO).json()["result"]["label"] == "YES"
        images.unlink()
        (tmp_path / "before").rename(images)
        identity = served.submit(ZERO, want_async="true").json()["id"]
        path = f"/device-api/v1/image-queries/{identity}"
        assert until(lambda: served.json(path)["result"])["label"] == "YES"


def test_a_fault_of_ours_is_the_querys_end_and_told(
    opened: Callable[[], Service], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def infer(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Inferring, "infer", infer)

    service = opened()

    async def ask() -> None:
        body = await service.submit(LATER, PICTURE)
        await _settled(service)
        found = service.store.get(body["id"])
        assert found is not None and found["done_processing"]
        assert found["metadata"]["error"] == "a fault of ours"
        assert body["id"] in caplog.text and "Traceback" in caplog.text
        await service.close()

    asyncio.run(ask())


@pytest.mark.parametrize("killed", [False, True])
def test_what_the_endpoint_leaves_unanswered_is_closed(
    opened: Callable[[], Service], tmp_path: Path, killed: bool
) -> None:
    service = opened()
    identity = asked_and_left(service)
    if killed:
        service.store.close()
        opened().store.close()
    else:
        asyncio.run(service.close())
    store = Store(tmp_path / "state")
    body = store.get(identity)
    store.close()
    assert body is not None and body["done_processing"] and body["result"] is None
    assert "ended" in body["metadata"]["error"]


def test_a_body_that_does_not_arrive_costs_its_time_and_no_more(
    opened: Callable[[], Service],
) -> None:
    service = opened()
    app = Api(service, Limits(patience=0.1)).application()
    scope = {
        "type": "http", "method": "POST", "path": "/v1/image-queries", "root_path": "",
        "query_string": f"detector_id={ZERO.id}".encode(),
        "headers": [(b"content-type", b"image/png")],
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert b"did not arrive in time" in sent[1]["body"]
    asyncio.run(service.close())


def test_no_more_wait_for_their_answers_than_can_be_kept_in_mind(
    opened: Callable[[], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = refused_later(monkeypatch, "later")
    monkeypatch.setattr("hardtack.endpoint.service._MOST_LATER", 6)
    service = opened()

    async def ask() -> None:
        for _ in range(6):
            assert (await service.submit(LATER, PICTURE))["result"] is None
        with pytest.raises(Refused) as refused:
            await service.submit(LATER, PICTURE)
        assert refused.value.status == 429 and refused.value.retry_after
        answering.set()
        await _settled(service)
        assert await service.submit(LATER, PICTURE)
        await service.close()

    asyncio.run(ask())


def test_at_the_end_what_has_begun_is_answered_and_the_rest_told_that_it_is_not(
    opened: Callable[[], Service], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering = refused_later(monkeypatch, "its server is away")
    service = opened()

    async def ask() -> list[str]:
        asked = [(await service.submit(LATER, PICTURE))["id"] for _ in range(6)]
        ending = asyncio.create_task(service.close())
        await asyncio.sleep(0)
        answering.set()
        await ending
        return asked

    asked = asyncio.run(ask())
    store = Store(tmp_path / "state")
    errors = [(store.get(identity) or {})["metadata"]["error"] for identity in asked]
    store.close()
    assert errors == ["its server is away"] * 4 + ["The endpoint ended before it was answered."] * 2


async def _settled(service: Service) -> None:
    """Until all that is to be answered behind its callers' backs is."""
    async with asyncio.timeout(30):
        await asyncio.gather(*service._later)


def test_of_two_looks_at_which_servers_are_wanted_the_later_one_counts(
    opened: Callable[[], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = opened()
    looks, applied = itertools.count(), threading.Event()

    def wanted() -> frozenset[str]:
        if next(looks):
            return frozenset({ZERO.id})
        applied.wait(0.3)  # as on a slow mount, while the configuration changes
        return frozenset()

    monkeypatch.setattr(service.backend, "want", lambda _: applied.set())
    monkeypatch.setattr(service.known, "wanted", wanted)
    api = Api(service)

    async def both() -> None:
        await asyncio.gather(api._want(), api._want())

    asyncio.run(both())
    assert api._wanted == {ZERO.id}
    asyncio.run(service.close())
