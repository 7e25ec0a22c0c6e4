"""Detectors load a few at a time, the smallest first."""

from __future__ import annotations

import asyncio
import contextlib

from hardtack.endpoint.backends.turns import Turns


def test_of_those_that_wait_the_smallest_is_next() -> None:
    async def story() -> list[int]:
        turns, order = Turns(2), []
        under_way = most = 0

        async def load(size: int) -> None:
            nonlocal under_way, most
            async with turns.one(size):
                order.append(size)
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0)
                under_way -= 1

        await asyncio.gather(*map(load, [50, 40, 30, 5, 20, 10, 20]))
        assert most == 2
        return order

    assert asyncio.run(story()) == [50, 40, 5, 10, 20, 20, 30]


def test_who_gives_up_or_fails_keeps_nobody_from_a_turn() -> None:
    async def story() -> list[str]:
        turns, had = Turns(1), []

        async def load(name: str, size: int, error: type[Exception] | None = None) -> None:
            async with turns.one(size):
                had.append(name)
                await asyncio.sleep(0.01)
                if error:
                    raise error

        fails = asyncio.create_task(load("fails", 1, ValueError))
        waits = asyncio.create_task(load("waits", 2))
        last = asyncio.create_task(load("last", 3))
        await asyncio.sleep(0)
        waits.cancel()
        with contextlib.suppress(ValueError):
            await fails
        await last
        given = asyncio.create_task(asyncio.sleep(0))

        async def hold() -> None:
            nonlocal given
            async with turns.one(1):
                given = asyncio.create_task(load("given", 2))
                await asyncio.sleep(0.01)
            given.cancel()  # its turn has come, and it hasn't begun it

        await hold()
        await load("after", 3)
        assert given.cancelled()
        return had

    assert asyncio.run(asyncio.wait_for(story(), 30)) == ["fails", "last", "after"]
