"""Servers that crash, hang and grow; weights that go away; a full disk; a clock that jumps; a cloud
with a bad certificate."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import trustme
from PIL import Image

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint import ids
from hardtack.endpoint.inferring import Inferring
from hardtack.endpoint.outbox import Entry, Outbox
from hardtack.endpoint.query import Refused
from hardtack.endpoint.servers import Address
from hardtack.endpoint.store import Kept, Store
from hardtack.endpoint.upstream import Breaker
from tests.endpoint.test_escalation import ANSWERING, UNSURE, ZERO, Box, queue
from tests.inference.test_images import encoded
from tests.support.clouds import Cloud, running
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.stopping import stop
from tests.support.waiting import until

SHAPE = SAMPLES[7]


def servers(of: Endpoint) -> dict[str, psutil.Process]:
    """Detector → process of its server."""
    found = {}
    for process in psutil.Process(of.process.pid).children(recursive=True):
        command = process.cmdline()
        if "--name" in command:
            found[command[command.index("--name") + 1]] = process
    return found


def unread(server: psutil.Process) -> int:
    """The most bytes that wait on one of a stopped server's connections, accepted or not."""
    ports = {c.laddr.port for c in server.net_connections() if c.status == psutil.CONN_LISTEN}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return max(
        int(row[4].rpartition(":")[2], 16)
        for row in rows
        if int(row[1].rpartition(":")[2], 16) in ports
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Endpoint]:
    """Two detectors, no cloud."""
    models = write_models(tmp_path, [ZERO, SHAPE])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO, SHAPE])
    with endpoint(tmp_path, models, detectors) as up:
        yield up


def test_a_server_that_crashes_on_a_picture_fails_that_query_alone(served: Endpoint) -> None:
    victim = servers(served)[ZERO.id]
    stop(victim.pid)  # so that the picture is on its way when it dies
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(served.submit, ZERO)
        until(lambda: unread(victim) > len(ZERO.picture()))
        victim.kill()
        reply = asked.result()
    assert reply.status == 503
    assert "went away" in reply.json()["detail"]
    assert reply.headers["retry-after"]
    assert served.submit(SHAPE).status == 200
    until(lambda: served.submit(ZERO).status == 200)
    assert servers(served)[ZERO.id].pid != victim.pid
    assert served.json("/status/metrics.json")["detectors"][ZERO.id]["server"]["restarts"] == 1


def test_a_server_that_hangs_costs_its_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", silent.getsockname()[1], "1")
        asking = Inferring(seconds=0.2)
        with pytest.raises(Refused) as refused:
            asyncio.run(asking.infer(ZERO.id, address, b"picture", "image/jpeg"))
    assert refused.value.status == 504
    assert refused.value.retry_after


def test_a_picture_that_takes_too_much_memory_costs_no_other_its_answer(tmp_path: Path) -> None:
    """It is refused, or the server that takes more than it may is ended and started again."""
    models = write_models(tmp_path, [SHAPE])
    detectors = write_detectors(tmp_path / "detectors.yaml", [SHAPE])
    # More than the kernel grants: of one between that and the cap, the answer may be quicker than
    # the look that ends its server.
    large = encoded(Image.new("RGB", (15000, 15000)), "PNG")
    options = ("--memory", "350MB", "--max-pixels", "250000000")
    with endpoint(tmp_path, models, detectors, *options) as capped:
        reply = capped.post(SHAPE.id, large)
        assert reply.status in (413, 503)
        assert reply.status == 503 or "more memory" in reply.json()["detail"]
        until(lambda: capped.submit(SHAPE).status == 200)


def test_weights_that_go_away_are_told_and_come_back(tmp_path: Path) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    with endpoint(tmp_path, models, detectors) as served:
        gone = models.rename(tmp_path / "gone")
        assert served.submit(ZERO).status == 200  # it has them in memory
        servers(served)[ZERO.id].kill()
        until(lambda: served.submit(ZERO).status == 503)

        def absent() -> bool:
            told = served.json("/status/metrics.json")["detectors"][ZERO.id]["server"]
            return bool(told["phase"] == "absent" and ZERO.id in told["note"])

        until(absent)
        refused = served.submit(ZERO)
        assert refused.status == 503 and refused.headers["retry-after"]
        assert ZERO.id in refused.json()["detail"] and ".." not in refused.json()["detail"]
        waiting = served.json("/health/ready")["waiting"][ZERO.id]
        assert waiting.startswith("absent: ") and str(models) in waiting
        until(lambda: f"{ZERO.id}: {waiting}" in served.log.read_text(), served.log.read_text)
        assert served.json("/edge-detector-readiness") == {ZERO.id: {"ready": False}}
        gone.rename(models)
        until(lambda: served.submit(ZERO).status == 200)


@pytest.mark.parametrize("full", [False, True])
def test_a_state_disk_that_takes_no_log_keeps_no_server_down(served: Endpoint, full: bool) -> None:
    logs = served.log.parent / "state/logs"
    logs.rename(logs.with_name("before"))
    if full:
        logs.mkdir()
        (logs / f"{ZERO.id}.log").symlink_to("/dev/full")
    else:
        logs.touch()
    servers(served)[ZERO.id].kill()

    def again() -> bool:
        told = served.json("/status/metrics.json")["detectors"][ZERO.id]["server"]
        return told["restarts"] > 0 and served.submit(ZERO).status == 200

    until(again, served.log.read_text)
    assert served.log.read_text().count(f"{ZERO.id}.log can't be written") == 1


@pytest.mark.needs("root")
def test_a_full_disk_costs_what_is_kept_and_no_answer(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(state)], check=True)
    try:
        cloud = Cloud(mode="500")
        noise = encoded(Image.effect_noise((1200, 900), 90).convert("RGB"), "PNG")
        with running(cloud), Box(tmp_path, cloud).serving(config=ANSWERING) as served:
            for _ in range(40):
                assert served.post(ZERO.id, noise, **UNSURE).json()["result"]["from_edge"] is True
            told = served.json("/status/metrics.json")
            assert 0 < told["cloud"]["queue"]["size"] < 40
            assert told["image_queries_lost"] > 0
            waiting = told["cloud"]["queue"]["size"]
            cloud.mode = "ok"
            cloud.wait_for(waiting)
            until(lambda: queue(served)["size"] == 0)
            assert served.post(ZERO.id, noise, **UNSURE).status == 200
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_a_clock_that_jumps_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    outbox = Outbox(tmp_path / "queue.sqlite", most_seconds=60)
    store = Store(tmp_path, most=10)
    breaker = Breaker(lambda: now)
    identities = []
    for jump in (0.0, 3e8, -1.9e9, 10.0):  # years ahead, before 1970, and about right again
        now = 1_800_000_000.0 + jump
        identity = ids.new_image_query()
        assert ids.IMAGE_QUERY.fullmatch(identity)
        identities.append(identity)
        body = {"id": identity, "detector_id": ZERO.id, "result": None}
        store.add(Kept(body, b"picture", "image/png", now))
        assert outbox.put(Entry(identity, False, {}, "image/png", b"picture"))
        outbox.passed(1.0)
        breaker.failed("away")
    assert outbox.status()["size"] == 4  # age is time in which it ran
    count, listed = store.listed(1, 10)
    assert (count, [body["id"] for body in listed]) == (4, identities[::-1])
    outbox.passed(60.0)
    assert outbox.status() == {
        "size": 0, "bytes": 0,
        "dropped": {**outbox.status()["dropped"], "old_escalation": 4},
    }  # fmt: skip
    outbox.close()
    store.close()


def test_a_cloud_with_a_certificate_that_nobody_signed_is_none(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    with running(Cloud(), context) as cloud:
        box = Box(tmp_path, cloud)
        with box.serving() as served:
            assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is True
            told = served.json("/status/metrics.json")["cloud"]
            assert told["reachable"] is False
            assert "TLS" in told["reason"] and "certificate" in told["reason"]
            assert queue(served)["size"] == 1
        with box.serving("--upstream-ca", str(trusted)) as served:
            until(lambda: queue(served)["size"] == 0)
            assert len(cloud.received) == 1
            assert served.submit(ZERO, **UNSURE).json()["result"]["from_edge"] is False
