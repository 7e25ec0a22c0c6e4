"""What readiness is told in: rows, and a report of them. Of nothing but JSON-able fields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hardtack.deploy.ready.checks import Check, Part


class State(StrEnum):
    """How one thing stands that a box needs to come up."""

    READY = "ready"
    MISSING = "missing"
    WRONG = "wrong"
    EXPIRES = "expires"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing, and how it stands. `missing`: bytes that must come over the network first;
    `remedy`: what to do, where it isn't READY."""

    check: Check
    name: str
    state: State
    detail: str = ""
    missing: int = 0
    remedy: str = ""

    @property
    def part(self) -> Part:
        return self.check.part


@dataclass(frozen=True, slots=True)
class Report:
    """`at`: seconds since 1970 UTC; `rate`: bytes a second at which the missing would come, where
    one was measured."""

    rows: tuple[Row, ...]
    at: float
    rate: float | None = None

    @property
    def ready(self) -> bool:
        """Whether nothing is amiss; a report of nothing is no proof."""
        return bool(self.rows) and all(row.state is State.READY for row in self.rows)

    @property
    def missing(self) -> int:
        """Bytes that must come over the network."""
        return sum(row.missing for row in self.rows)

    def seconds(self, row: Row) -> float | None:
        """How long `row`'s bytes take; None where nothing is missing or no rate was measured."""
        return row.missing / self.rate if row.missing and self.rate else None
