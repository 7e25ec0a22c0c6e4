"""Threads that do an event loop's blocking work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial

import pytest

from hardtack.core.hands import Hands
from tests.support.waiting import until


def _named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def test_it_gives_what_the_work_gives_and_raises_what_it_raises() -> None:
    async def story() -> None:
        hands = Hands(1, "given")
        assert await hands.run(lambda a, b: a + b, "a", "b") == "ab"
        for error in (ValueError("no"), MemoryError(), SystemExit(3)):
            with pytest.raises(type(error)) as raised:
                await hands.run(partial(_raise, error))
            assert raised.value is error
        assert await hands.run(threading.get_ident) != threading.get_ident()

    asyncio.run(story())


def test_no_more_run_at_a_time_than_there_may_and_the_rest_in_turn() -> None:
    async def story() -> None:
        hands, begun, gate = Hands(2, "turn"), list[int](), threading.Semaphore(0)

        def work(number: int) -> int:
            begun.append(number)
            assert gate.acquire(timeout=60)
            return number

        waiting = [asyncio.create_task(hands.run(work, number)) for number in range(5)]
        await _until(lambda: len(begun) == 2)
        hands.most = 3
        late = asyncio.create_task(hands.run(work, 5))
        await _until(lambda: len(begun) == 3)
        gate.release(6)
        assert await asyncio.gather(*waiting, late) == [0, 1, 2, 3, 4, 5]
        assert sorted(begun) == [0, 1, 2, 3, 4, 5]
        assert begun[2:] == sorted(begun[2:])
        assert len(_named("turn")) == 3

    asyncio.run(story())


def test_one_after_the_other_takes_one_thread() -> None:
    async def story() -> None:
        hands = Hands(8, "alone")
        used = {await hands.run(threading.get_ident) for _ in range(20)}
        assert len(used) == 1

    asyncio.run(story())


def test_a_thread_that_cannot_be_had_is_told_and_the_next_one_is_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        hands = Hands(8, "scarce")
        with monkeypatch.context() as scarce, pytest.raises(RuntimeError, match="no thread"):
            error = RuntimeError("no thread")
            scarce.setattr(threading.Thread, "start", lambda _: _raise(error))
            await hands.run(threading.get_ident)
        used = {await hands.run(threading.get_ident) for _ in range(20)}
        assert len(used) == len(_named("scarce")) == 1

    asyncio.run(story())


def test_work_whose_caller_has_gone_is_not_begun() -> None:
    async def story() -> None:
        hands, gate, begun = Hands(1, "gone"), threading.Event(), list[str]()
        first = asyncio.create_task(hands.run(gate.wait, 60.0))
        second = asyncio.create_task(hands.run(begun.append, "second"))
        third = asyncio.create_task(hands.run(begun.append, "third"))
        await asyncio.sleep(0)
        second.cancel()
        first.cancel()  # it runs on, and what it gives is nobody's
        await asyncio.wait([first, second])
        gate.set()
        await third
        assert first.cancelled() and second.cancelled()
        assert begun == ["third"]

    asyncio.run(story())


def test_the_threads_end_with_their_owner_and_keep_nothing_of_their_work() -> None:
    class Big:
        pass

    async def story() -> None:
        hands, big = Hands(2, "ended"), Big()
        kept = weakref.ref(big)
        await hands.run(id, big)
        with pytest.raises(ValueError):
            await hands.run(_refuse, big)
        del big
        await _until(lambda: kept() is None)
        assert _named("ended")

    asyncio.run(story())
    until(lambda: not _named("ended"))


def test_a_loop_that_ended_meanwhile_is_told_nothing() -> None:
    gate = threading.Event()

    async def story() -> None:
        hands = Hands(1, "late")
        task = asyncio.create_task(hands.run(gate.wait, 60.0))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(story())
    gate.set()
    until(lambda: not _named("late"))  # an exception in a thread fails the test


def test_a_process_ends_beside_work_that_hangs() -> None:
    code = (
        "import asyncio, threading\n"
        "from hardtack.core.hands import Hands\n"
        "async def story():\n"
        "    task = asyncio.create_task(Hands(1, 'hung').run(threading.Event().wait))\n"
        "    await asyncio.sleep(0)\n"
        "    task.cancel()\n"
        "asyncio.run(story())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


def _raise(error: BaseException) -> None:
    raise error


def _refuse(_: object) -> None:
    raise ValueError("no")


async def _until(true: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, true)
