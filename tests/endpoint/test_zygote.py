"""Our own servers are forked from one process that has everything imported."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hardtack.core.errors import EndpointError
from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint.backends.process import Process
from hardtack.endpoint.backends.telling import environment
from hardtack.endpoint.backends.zygote import Zygote
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.waiting import until

DIGIT, ZERO = SAMPLES[4], SAMPLES[5]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Endpoint]:
    """Two detectors, no cloud."""
    models = write_models(tmp_path, [DIGIT, ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT, ZERO])
    with endpoint(tmp_path, models, detectors) as up:
        yield up


def family(of: Endpoint) -> tuple[psutil.Process, list[psutil.Process]]:
    """The endpoint's zygote and its servers."""
    (zygote,) = psutil.Process(of.process.pid).children()
    return zygote, zygote.children()


def test_servers_share_what_is_imported_and_have_names_of_their_own(served: Endpoint) -> None:
    zygote, servers = family(served)
    # A fork takes along no thread but one, and no lock that another holds is ever let go.
    assert zygote.num_threads() == 1
    assert {line[line.index("--name") + 1] for line in (s.cmdline() for s in servers)} == {
        DIGIT.id,
        ZERO.id,
    }
    for server in servers:
        maps = server.memory_full_info()
        assert maps.pss < maps.rss / 2  # most of it is shared
        told = server.environ()
        assert (told["HF_HUB_OFFLINE"], told["OMP_NUM_THREADS"]) == ("1", "1")
        line = server.cmdline()
        assert line[line.index("--threads") + 1] == "1"
    assert served.submit(DIGIT).json()["result"]["label"] == "7"


def test_servers_die_with_the_endpoint(served: Endpoint) -> None:
    zygote, servers = family(served)
    served.process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs([zygote, *servers], timeout=10)
    assert not alive


def test_a_zygote_that_is_killed_is_followed_by_another(served: Endpoint) -> None:
    zygote, servers = family(served)
    zygote.kill()
    _, alive = psutil.wait_procs(servers, timeout=10)
    assert not alive
    until(lambda: served.submit(DIGIT).status == 200 and served.submit(ZERO).status == 200)
    follower, _ = family(served)
    assert follower.pid != zygote.pid


def test_ending_the_endpoint_leaves_nobody(served: Endpoint) -> None:
    zygote, servers = family(served)
    for process in (zygote, *servers):  # as a service manager does, and Ctrl-C
        process.send_signal(signal.SIGINT)
    served.process.terminate()
    served.process.wait(timeout=30)
    _, alive = psutil.wait_procs([zygote, *servers], timeout=10)
    assert not alive
    assert "Traceback" not in served.log.read_text()


async def _ends(tmp_path: Path, *words: str, memory: int = 0) -> tuple[str, str]:
    """Why `hardtack WORDS` ended, forked, and its log."""
    zygote = Zygote(environment(tmp_path, 1))
    log = tmp_path / "server.log"
    try:
        process = Process(await zygote.fork(words, memory), log)
        return await process.exit, log.read_text() if log.exists() else ""
    finally:
        zygote.close()


def test_what_a_server_says_and_how_it_ends_come_back(tmp_path: Path) -> None:
    reason, log = asyncio.run(_ends(tmp_path, "ls", "file:///nowhere/at/all"))
    assert "/nowhere/at/all" in reason
    assert "hardtack: " in log
    reason, log = asyncio.run(_ends(tmp_path, "version"))
    assert reason.startswith("exit code 0;")
    assert log.startswith("hardtack") or log[0].isdigit()


def test_the_kernel_caps_its_memory(tmp_path: Path) -> None:
    write_models(tmp_path, [DIGIT])
    words = ("inference", "serve", "--model", str(tmp_path / "models" / DIGIT.id), "--port", "0")
    reason, _ = asyncio.run(_ends(tmp_path, *words, "--fail-fast", memory=1_000_000))
    assert "exit code 0" not in reason


def test_a_start_that_is_given_up_leaves_no_server(tmp_path: Path) -> None:
    models = write_models(tmp_path, [DIGIT])

    async def story() -> None:
        zygote = Zygote(environment(models, 1))
        words = ("inference", "serve", "--model", str(models / DIGIT.id), "--port", "0")
        first = Process(await zygote.fork(words, 0), tmp_path / "first.log")
        parent = psutil.Process(first.pid).parent()
        assert parent is not None
        for steps in range(8):  # before it has asked, and while it waits for the answer
            starting = asyncio.create_task(zygote.fork(words, 0))
            for _ in range(steps):
                await asyncio.sleep(0)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await Process(await starting, tmp_path / "other.log").end()
            async with asyncio.timeout(30):
                while [child.pid for child in parent.children()] != [first.pid]:
                    await asyncio.sleep(0.02)
        await first.end()
        zygote.close()

    asyncio.run(story())


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_signal_is_not_lost_where_the_zygote_takes_no_orders_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    """Where it never does again, its servers end with it, and the next is another's."""
    monkeypatch.setattr("hardtack.endpoint.backends.zygote._PATIENCE", 60 if goes_on else 0.1)
    models = write_models(tmp_path, [DIGIT])
    words = ("inference", "serve", "--model", str(models / DIGIT.id), "--port", "0")

    async def story() -> None:
        zygote = Zygote(environment(models, 1))
        server = Process(await zygote.fork(words, 0), tmp_path / "server.log")
        first = psutil.Process(server.pid).parent()
        assert first is not None
        first.suspend()
        with contextlib.suppress(BlockingIOError):
            while True:
                zygote._put({"server": 0, "signal": 0}, [])
        async with asyncio.timeout(30):
            ending = asyncio.create_task(server.kill())
            await asyncio.sleep(0)
            assert not ending.done()
            if goes_on:
                first.resume()
            await ending
        assert server.exit.result().startswith("signal 9")
        assert first.is_running() == goes_on
        assert await (await zygote.fork(["version"], 0)).wait() == 0
        zygote.close()

    asyncio.run(story())


def test_an_order_that_lost_its_files_costs_no_other_server(tmp_path: Path) -> None:
    """As where the zygote has as many open as it may."""

    async def story() -> int:
        zygote = Zygote(environment(tmp_path, 1))
        zygote.launch()
        ours, theirs = os.pipe()
        zygote._send({"server": 7, "words": ["version"], "memory": 0}, [theirs])
        os.close(theirs)
        with os.fdopen(ours, "rb") as fate:
            assert await asyncio.to_thread(fate.read) == b""  # whoever asked sees that none came
        code = await (await zygote.fork(["version"], 0)).wait()
        zygote.close()
        return code

    assert asyncio.run(story()) == 0


def test_a_zygote_that_can_not_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def story(executable: str) -> str:
        monkeypatch.setattr(sys, "executable", executable)
        zygote = Zygote(environment(tmp_path, 1))
        with pytest.raises(EndpointError) as raised:
            await zygote.fork(["version"], 0)
        zygote.close()
        return str(raised.value)

    assert "No such file" in asyncio.run(story(str(tmp_path / "python")))
    assert "the zygote" in asyncio.run(story("/bin/false"))
