"""Where the endpoint listens, and how it refuses whom it has no time for."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import trustme
import urllib3

from hardtack.demo.detectors import SAMPLES
from tests.endpoint.test_escalation import UNSURE, ZERO, Box
from tests.endpoint.test_outages import servers
from tests.support.clouds import Cloud, running
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.stopping import stop
from tests.support.waiting import until

SHAPE = SAMPLES[7]


def addresses(of: Endpoint) -> list[str]:
    """Where the endpoint itself listens, its detectors' servers not counted."""
    found = psutil.Process(of.process.pid).net_connections()
    return sorted(one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["127.0.0.1"]),
        (("--host", "127.0.0.2"), ["127.0.0.2"]),
        (("--host", "127.0.0.2", "--https-port", "0"), ["127.0.0.1", "127.0.0.2"]),
        (("--host", "127.0.0.2", "--https-port", "0", "--plain-http"), ["127.0.0.2"] * 2),
    ],
)
def test_plain_http_beside_https_is_for_loopback_unless_asked_for(
    tmp_path: Path, options: tuple[str, ...], expected: list[str]
) -> None:
    """`--host` is 127.0.0.2 here, so that nothing leaves the machine."""
    detectors = write_detectors(tmp_path / "detectors.yaml", [])
    with endpoint(tmp_path, write_models(tmp_path, []), detectors, *options) as served:
        assert addresses(served) == expected
        if "--https-port" in options:
            assert served.secure.startswith("https://127.0.0.2:")
            plain = "127.0.0.2" if "--plain-http" in options else "127.0.0.1"
            assert served.url.startswith(f"http://{plain}:")


def test_an_own_certificate_is_shown_to_callers(tmp_path: Path) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "own.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    options = ("--tls-cert", str(tmp_path / "own.pem"), "--tls-key", str(tmp_path / "key.pem"))
    detectors = write_detectors(tmp_path / "detectors.yaml", [])
    models = write_models(tmp_path, [])
    with (
        endpoint(tmp_path, models, detectors, "--https-port", "0", *options) as served,
        urllib3.PoolManager(ca_certs=str(tmp_path / "ca.pem")) as pool,
    ):
        assert pool.request("GET", served.secure + "/ping", retries=False).status == 200
    assert not (tmp_path / "state/tls").exists()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Endpoint]:
    models = write_models(tmp_path, [ZERO, SHAPE])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO, SHAPE])
    with endpoint(tmp_path, models, detectors, "--under-way", "2") as up:
        yield up


def test_a_detector_with_too_much_to_do_refuses_and_holds_no_other_up(two: Endpoint) -> None:
    slow = servers(two)[ZERO.id]
    stop(slow.pid)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(two.submit, ZERO) for _ in range(2)]

        def refused() -> bool:
            """Whether a third is; before the two have come, it takes the place of one of them."""
            asked.append(pool.submit(two.submit, ZERO))
            return any(one.done() for one in asked)

        until(refused)
        told = next(one for one in asked if one.done()).result()
        assert told.status == 429
        assert int(told.headers["retry-after"]) >= 1
        assert ZERO.id in told.json()["detail"]
        assert two.submit(SHAPE).status == 200
        slow.send_signal(signal.SIGCONT)
        statuses = [one.result().status for one in asked]
    assert statuses.count(200) == 2
    assert two.submit(ZERO).status == 200


def test_the_cloud_is_reached_through_the_proxy_that_the_environment_names(
    tmp_path: Path,
) -> None:
    with running(Cloud()) as proxy:
        behind = Cloud(port=80, address="cloud.invalid")
        env = {"http_proxy": proxy.url, "NO_PROXY": "", "no_proxy": ""}
        with Box(tmp_path, behind).serving(env=env) as served:
            asked = served.submit(ZERO, **UNSURE).json()
            assert asked["result"]["from_edge"] is False
            assert list(proxy.received) == [asked["id"]]


def test_what_is_passed_on_streams_both_ways(tmp_path: Path) -> None:
    """Neither side's first piece waits for its last."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        cloud = Cloud(port=listener.getsockname()[1])
        with Box(tmp_path, cloud).serving("--deadline", "20s") as served:
            caller = http.client.HTTPConnection(*address(served), timeout=30)
            caller.putrequest("POST", "/device-api/v1/notes")
            caller.putheader("content-length", "11")
            caller.endheaders(b"first")
            upstream, _ = listener.accept()
            with upstream:
                upstream.settimeout(30)
                come = b""
                while not come.endswith(b"first"):
                    come += upstream.recv(1000)
                caller.send(b"second")
                while not come.endswith(b"second"):
                    come += upstream.recv(1000)
                upstream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nbefore")
                reply = caller.getresponse()
                assert reply.read(6) == b"before"
                upstream.sendall(b"after")
                assert reply.read() == b"after"
            caller.close()


def address(of: Endpoint) -> tuple[str, int]:
    host, _, port = of.url.removeprefix("http://").partition(":")
    return host, int(port)


def test_the_endpoint_and_its_servers_wait_for_their_turns(tmp_path: Path) -> None:
    models = write_models(tmp_path, [SHAPE])
    detectors = write_detectors(tmp_path / "detectors.yaml", [SHAPE])
    with endpoint(tmp_path, models, detectors) as up:
        for pid in (up.process.pid, servers(up)[SHAPE.id].pid):
            assert os.sched_getscheduler(pid) == os.SCHED_BATCH
