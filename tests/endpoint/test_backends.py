"""What every backend does, real and false: one suite for the protocol."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.backends import processes, versions
from hardtack.endpoint.backends.kubernetes import backend
from hardtack.endpoint.backends.kubernetes.manifests import Pods
from hardtack.endpoint.backends.process import Command, Process
from hardtack.endpoint.backends.processes import Processes
from hardtack.endpoint.backends.starting import Pace
from hardtack.endpoint.servers import Backend
from tests.support.backends import FakeBackend
from tests.support.cluster import ENDPOINT, kubernetes
from tests.support.endpoints import write_models

DIGIT, ZERO = SAMPLES[4], SAMPLES[5]
NOBODY = "det_nobody000000000000000000000"
PHASES = {"absent", "waiting", "loading", "ready", "failed", "stopped"}
PACE = Pace(refresh=0.2, probation=1.0)


@asynccontextmanager
async def of_processes(tmp_path: Path, models: Path) -> AsyncIterator[Backend]:
    yield Processes(processes.Settings(models, tmp_path / "state", pace=PACE))


@asynccontextmanager
async def of_kubernetes(tmp_path: Path, models: Path) -> AsyncIterator[Backend]:
    with kubernetes(tmp_path / "kubelet") as (server, _):
        yield backend.Kubernetes(
            server.cluster(ENDPOINT),
            backend.Settings(
                models, tmp_path / "state", Pods("image", models.parent),
                refresh=PACE.refresh, probation=PACE.probation,
            ),
        )  # fmt: skip


@asynccontextmanager
async def of_nothing(tmp_path: Path, models: Path) -> AsyncIterator[Backend]:
    yield FakeBackend(models)


async def until(true: Callable[[], bool], what: Callable[[], object]) -> None:
    for _ in range(600):
        if true():
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(what())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path, [DIGIT, ZERO])


@pytest.mark.parametrize("make", [of_processes, of_kubernetes, of_nothing])
def test_a_backend(make: Callable[..., object], tmp_path: Path, models: Path) -> None:
    async def story() -> None:
        async with make(tmp_path, models) as tested:  # type: ignore[attr-defined]
            await _story(tested, models)

    asyncio.run(story())


async def _story(tested: Backend, models: Path) -> None:
    # Before it starts it knows of nothing, and says so.
    assert tested.address(DIGIT.id) is None
    assert tested.state(DIGIT.id).phase == "stopped"
    tested.want(frozenset({DIGIT.id, NOBODY}))
    await tested.start()
    try:
        states = lambda: (tested.state(DIGIT.id), tested.state(NOBODY))  # noqa: E731
        await until(lambda: tested.address(DIGIT.id) is not None, states)
        address = tested.address(DIGIT.id)
        assert address is not None and address.version == "1"
        ready = tested.state(DIGIT.id)
        assert (ready.phase, ready.version, ready.refused) == ("ready", "1", ())
        # One without a model is absent, with the reason, and keeps nobody up.
        await until(lambda: tested.state(NOBODY).phase == "absent", states)
        assert tested.state(NOBODY).note
        assert tested.address(NOBODY) is None
        # A higher version takes over, with an address at every moment.
        primary = models / DIGIT.id / "primary"
        shutil.copytree(primary / "1", models / ".making")
        (models / ".making").rename(primary / "2")
        gaps = 0

        def rolled() -> bool:
            nonlocal gaps
            found = tested.address(DIGIT.id)
            gaps += found is None
            assert tested.state(DIGIT.id).phase in PHASES
            return found is not None and found.version == "2"

        await until(rolled, states)
        assert gaps == 0
        # What is wanted changes while it runs.
        tested.want(frozenset({ZERO.id}))
        await until(lambda: tested.address(ZERO.id) is not None, states)
        await until(lambda: tested.address(DIGIT.id) is None, states)
        assert tested.state(DIGIT.id).phase == "stopped"
    finally:
        await tested.close()


def looking_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(versions, "first", first)


def tidying_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(backend.Kubernetes, "_remove", remove)


@pytest.mark.parametrize(
    ("make", "fail", "noted"),
    [
        (of_processes, looking_fails, "a fault of ours"),
        (of_kubernetes, looking_fails, "a fault of ours"),
        (of_kubernetes, tidying_fails, ""),
    ],
)
def test_a_fault_of_ours_is_told_and_survived(
    make: Callable[..., object], fail: Callable[[pytest.MonkeyPatch], None], noted: str,
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async def story() -> None:
        async with make(tmp_path, models) as tested:  # type: ignore[attr-defined]
            tested.want(frozenset({DIGIT.id}))
            with monkeypatch.context() as failing:
                fail(failing)
                await tested.start()
                await until(lambda: "a fault of ours" in caplog.text, lambda: caplog.text)
                await until(
                    lambda: noted in tested.state(DIGIT.id).note, lambda: tested.state(DIGIT.id)
                )
            # What it was waiting for is done once the fault is gone.
            tested.want(frozenset({ZERO.id}))
            states = lambda: (tested.state(DIGIT.id), tested.state(ZERO.id))  # noqa: E731
            await until(lambda: tested.address(ZERO.id) is not None, states)
            await tested.close()

    asyncio.run(story())


def test_a_fault_of_ours_ends_no_server_that_answers(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def following(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async def story() -> None:
        async with of_processes(tmp_path, models) as tested:
            tested.want(frozenset({DIGIT.id}))
            await tested.start()
            states = lambda: tested.state(DIGIT.id)  # noqa: E731
            await until(lambda: tested.address(DIGIT.id) is not None, states)
            address = tested.address(DIGIT.id)
            monkeypatch.setattr(versions, "following", following)
            await until(lambda: "a fault of ours" in caplog.text, lambda: caplog.text)
            assert tested.address(DIGIT.id) == address
            assert tested.state(DIGIT.id).phase == "ready"
            await tested.close()

    asyncio.run(story())


def test_a_log_that_can_not_be_written_costs_no_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "server.log"
    log.symlink_to("/dev/full")
    says = "import os\nfor n in range(50): os.write(2, b'hardtack: word %d\\n' % n)"

    async def story() -> str:
        process = await Process.start(Command([sys.executable, "-c", says], {}), log, 0)
        return await process.exit

    assert asyncio.run(story()) == "word 49"
    assert caplog.text.count(f"{log} can't be written: [Errno 28]") == 1
