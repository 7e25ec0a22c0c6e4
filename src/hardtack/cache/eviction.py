"""Which content goes when space is needed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """Content that could go: its `id` and the bytes that this would give back."""

    @property
    def id(self) -> str: ...
    @property
    def present(self) -> int: ...


C = TypeVar("C", bound=Candidate)


def victims(oldest_first: Iterable[C], need: int, kept: Callable[[str], bool]) -> Iterator[C]:
    """Least recently used content until `need` bytes are given back, never what is `kept`."""
    for candidate in oldest_first:
        if need <= 0:
            return
        if not kept(candidate.id):
            need -= candidate.present
            yield candidate


def shortage(present: int, size_limit: int | None, free: int, keep_free: int, incoming: int) -> int:
    """Bytes to give back before `incoming` more may be written; 0 or less when there is room."""
    over = present + incoming - size_limit if size_limit is not None else 0
    return max(over, keep_free + incoming - free)
