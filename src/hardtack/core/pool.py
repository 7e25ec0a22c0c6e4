"""Work done by threads, and taken back as it ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, TypeVarTuple

A = TypeVarTuple("A")
T = TypeVar("T")
Tried = tuple[T, None] | tuple[None, BaseException]


def tried(function: Callable[..., T], args: tuple[Any, ...]) -> Tried[T]:
    """What it gave, or what it raised. A function of its own: an error keeps its frame, which keeps
    no more than these."""
    try:
        return function(*args), None
    except BaseException as error:  # noqa: BLE001 (the caller's to judge)
        return None, error


class Pool(Generic[T]):
    """At most so many threads; what has ended is had in the order in which it did. At the end of
    the `with` what hasn't begun is dropped, and the rest is awaited.

    In place of `concurrent.futures.wait`: Ctrl-C in it leaves futures locked, and their threads
    wait for ever.
    """

    def __init__(self, most: int, name: str) -> None:
        """`name` begins the threads' names."""
        self._threads = ThreadPoolExecutor(most, name)
        self._ended: SimpleQueue[Tried[T]] = SimpleQueue()
        self.under_way = 0

    def __enter__(self) -> Pool[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def submit(self, function: Callable[[*A], T], *args: *A) -> None:
        self._threads.submit(lambda: self._ended.put(tried(function, args)))
        self.under_way += 1

    def ended(self) -> T:
        """What the next that ends gave; waits for it. Raises what it raised."""
        result, error = self._ended.get()
        self.under_way -= 1
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # the half of the pair that there is
