"""Threads that do an event loop's blocking work."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from hardtack.core.pool import tried

A = TypeVarTuple("A")
T = TypeVar("T")


class _Piece(NamedTuple):
    """Work that waits, and whom its outcome is told."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Any]
    tell: Callable[[asyncio.Future[Any], Any, BaseException | None], None]


_Work = SimpleQueue[_Piece | None]


class Hands:
    """At most so many threads, made as they are needed; of what waits, each takes the first piece
    as soon as it is free. For one event loop, and called from it alone.

    In place of `run_in_executor`, where two futures for each piece, chained by callbacks, took the
    processor longer than the way to the thread and back. The threads end with this, and don't
    outlive the process: what they do then is given up.
    """

    def __init__(self, most: int, name: str) -> None:
        """`name` begins the threads' names."""
        self.most = most
        """May be raised at any time."""
        self._name = name
        self._work: _Work = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._under_way = 0
        weakref.finalize(self, _dismiss, self._work, self._threads)

    async def run(self, function: Callable[[*A], T], *args: *A) -> T:
        """What `function` gives. Raises what it raises. Where the caller is cancelled before it has
        begun, it isn't run."""
        return await self._begin(function, args)  # a name for it would be a circle with its error

    def _begin(self, function: Callable[..., T], args: tuple[Any, ...]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        if len(self._threads) < min(self.most, self._under_way + 1):
            self._engage()
        self._under_way += 1
        self._work.put(_Piece(function, args, loop, outcome, self._tell))
        return outcome

    def _engage(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=_labour, args=(self._work,), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _tell(self, outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._under_way -= 1
        if outcome.cancelled():
            return
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)


def _labour(work: _Work) -> None:
    while (piece := work.get()) is not None:
        gone = piece.outcome.cancelled()
        outcome = (None, None) if gone else tried(piece.function, piece.args)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            piece.loop.call_soon_threadsafe(piece.tell, piece.outcome, *outcome)
        del piece, outcome  # or they are kept until the next piece comes


def _dismiss(work: _Work, threads: list[threading.Thread]) -> None:
    for _ in threads:
        work.put(None)
