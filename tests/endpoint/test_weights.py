"""Weights that come over a slow link, or not at all, through a real mount."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardtack.demo.detectors import objects
from tests.endpoint.test_rollout import DIGIT, FAST, Load, processes, server, serves
from tests.inference.test_server import serving
from tests.mount.test_bad_links import mount, mounted
from tests.support.commands import run
from tests.support.endpoints import Endpoint, endpoint, write_detectors
from tests.support.faulty import Behaviour, FaultyServer, always, faulty_server, slowly
from tests.support.waiting import until

pytestmark = pytest.mark.needs("root", "fuse")

AWAY = always(Behaviour(cut=0, reset=True))
PAD = random.Random(3).randbytes(1_500_000)


@pytest.fixture
def source() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        publish(running, 1)
        yield running


def publish(source: FaultyServer, version: int) -> None:
    """A version of DIGIT with a large file beside its network; its description comes last."""
    prefix = f"models/{DIGIT.id}/primary/"
    package = {
        key.rpartition("/")[2]: body
        for key, body in objects().items()
        if key.startswith(f"{prefix}1/")
    }
    pad = bytes([version]) + PAD[1:]
    toml = package.pop("model.toml")
    toml = f'{toml.decode()}\n[[weights]]\nfile = "pad.bin"\nsize = {len(pad)}\n'.encode()
    for name, body in [*package.items(), ("pad.bin", pad), ("model.toml", toml)]:
        source.objects[f"{prefix}{version}/{name}"] = body


def percent(served: Endpoint) -> int | None:
    reply = served.submit(DIGIT)
    if reply.status != 503:
        return None
    assert int(reply.headers["retry-after"]) > 0
    found = re.search(r"(\d+) % of its weights", reply.json()["detail"])
    return int(found[1]) if found else None


def test_while_weights_come_callers_are_told_how_far_they_are(
    tmp_path: Path, source: FaultyServer
) -> None:
    named = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    with mounted(source, tmp_path) as point:
        source.script = always(slowly(150_000))
        seen: set[int] = set()
        options = (*FAST, "--arrival-time", "30s")
        with endpoint(tmp_path, point / "models", named, *options, ready=False) as served:

            def under_way() -> Any:
                told = percent(served)
                seen.update([told] if told is not None else [])
                return len({p for p in seen if 0 < p < 100}) >= 2

            until(under_way, lambda: (seen, server(served), served.log.read_text()))
            ready = served.ask("GET", "/health/ready")
            assert ready.status == 503
            assert ready.json()["waiting"] == {DIGIT.id: "loading"}
            assert server(served)["weights"][1] > len(PAD)
            source.script = always(Behaviour())
            served.wait_ready()
            assert server(served)["restarts"] == 0
            assert served.submit(DIGIT).status == 200


def test_a_box_that_starts_with_no_network_begins_with_what_is_on_its_disk(
    tmp_path: Path, source: FaultyServer
) -> None:
    named = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    with mounted(source, tmp_path) as point:
        with endpoint(tmp_path, point / "models", named, *FAST) as served:
            serves(served, "1")
    publish(source, 2)
    with mounted(source, tmp_path) as point:
        # The box learns of version 2, and the link goes before its bytes have come.
        assert run("refresh", point).returncode == 0
        until((point / f"models/{DIGIT.id}/primary/2/model.toml").exists, lambda: "no 2")
        source.script = AWAY
        with (
            endpoint(tmp_path, point / "models", named, *FAST) as served,
            Load(served).on() as load,
        ):
            serves(served, "1")
            until(lambda: load.answers > 5, lambda: load.failures)
            source.script = always(Behaviour())
            serves(served, "2")
        assert load.failures == []


def test_a_mount_that_is_killed_beneath_a_server_and_comes_back(
    tmp_path: Path, source: FaultyServer
) -> None:
    named = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    with mounted(source, tmp_path) as point:
        with endpoint(tmp_path, point / "models", named, *FAST) as served:
            serves(served, "1")
            pids = json.loads((point / ".hardtack").read_bytes())
            for name in ("keeper", "worker"):
                os.kill(pids[name], signal.SIGKILL)
            until(lambda: dead(point), lambda: "the mount still answers")
            assert served.submit(DIGIT).status == 200  # what is loaded answers
            (server_pid,) = processes(served)
            os.kill(server_pid, signal.SIGKILL)
            until(lambda: served.submit(DIGIT).status == 503, lambda: server(served))
            until(lambda: "not connected" in server(served)["note"], lambda: server(served))
            package = point / "models" / DIGIT.id / "primary" / "1"
            with serving(package) as alone:
                reason = alone.ask("GET", "/health/ready").json["reason"]
                assert "Transport endpoint is not connected" in reason
                assert alone.ask("GET", "/health/live").status == 200
                mount(source, tmp_path)
                until(lambda: alone.ask("GET", "/health/ready").status == 200, lambda: "not ready")
            served.wait_ready(90)
            assert served.submit(DIGIT).status == 200
            assert server(served)["refused"] == []


def dead(point: Path) -> bool:
    try:
        os.listdir(point)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def test_a_load_without_progress_is_ended_and_told(tmp_path: Path, source: FaultyServer) -> None:
    named = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    with mounted(source, tmp_path, HARDTACK_PROGRESS_DEADLINE="6s") as point:
        (point / f"models/{DIGIT.id}/primary/1/model.toml").read_bytes()
        source.script = always(Behaviour(silent=True))
        options = (*FAST, "--arrival-time", "4s")  # a slow machine loads a model in less
        with endpoint(tmp_path, point / "models", named, *options, ready=False) as served:
            until(lambda: server(served)["restarts"], lambda: server(served))
            assert re.search(r"last of its bytes|No byte of its weights|can't be read|Input/output",
                             served.log.read_text())  # fmt: skip
            assert server(served)["refused"] == []
            source.script = always(Behaviour())
            served.wait_ready(90)
