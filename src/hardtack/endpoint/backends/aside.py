"""Work on a mount that may hang: in a thread that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs one function at a time in a thread of its own.

    A read from a mount that hangs can't be ended; while one does, no second is begun.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], T], patience: float) -> T:
        """Raises TimeoutError when it isn't done within `patience` seconds, or the last isn't."""
        if self._thread and self._thread.is_alive():
            raise TimeoutError
        results: list[T | BaseException] = []
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def body() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
                results.append(error)
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        self._thread = threading.Thread(target=body, daemon=True, name="mount")
        self._thread.start()
        async with asyncio.timeout(patience):
            await done.wait()
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]
