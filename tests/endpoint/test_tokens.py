"""Tokens go where they belong, and are told nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endpoint.test_escalation import TOKEN, ZERO, Box
from tests.support.clouds import UNKNOWN, Cloud, running
from tests.support.endpoints import Endpoint
from tests.support.waiting import until

CALLER = "api_" + "5" * 40
MODES = ("ok", "401", "500", "redirect", "nonsense")


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with running(Cloud()) as up:
        yield up


def use(served: Endpoint, cloud: Cloud) -> None:
    """Ask all that a token goes along with, of a cloud that is well and one that isn't."""
    for cloud.mode in MODES:
        query = f"/device-api/v1/image-queries?detector_id={ZERO.id}&confidence_threshold=1"
        headers = {"x-api-token": CALLER, "content-type": "image/png"}
        assert served.ask("POST", query, ZERO.picture(), **headers).status == 200
        for path in (f"detectors/{UNKNOWN}", "notes", f"api-tokens/by-snippet/{CALLER[:20]}"):
            served.ask("GET", f"/device-api/v1/{path}", None, **{"x-api-token": CALLER})
    cloud.mode = "ok"
    until(lambda: queued(served) == 0)


def queued(served: Endpoint) -> int:
    status = served.ask("GET", "/status/metrics.json", None, **{"x-api-token": CALLER}).json()
    found: int = status["cloud"]["queue"]["size"]
    return found


def written_below(directory: Path) -> bytes:
    """All that the endpoint wrote: its log, its servers', what it keeps."""
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


def test_a_callers_token_reaches_the_cloud_and_no_file(tmp_path: Path, cloud: Cloud) -> None:
    box = Box(tmp_path, cloud)
    with box.serving(env={"HARDTACK_LOG_LEVEL": "debug"}) as served:
        use(served, cloud)
    assert CALLER in cloud.tokens
    written = written_below(tmp_path)
    assert b"The cloud can't be reached" in written
    for token in (TOKEN, CALLER):
        assert token.encode() not in written


def test_the_endpoints_own_token_is_not_the_clouds(tmp_path: Path, cloud: Cloud) -> None:
    (tmp_path / "token").write_text(CALLER)
    with Box(tmp_path, cloud).serving(
        "--token-file", str(tmp_path / "token"), ready=False
    ) as served:
        until(lambda: served.ask("GET", "/health/ready").status == 200)
        use(served, cloud)
    assert set(cloud.tokens) == {TOKEN}
