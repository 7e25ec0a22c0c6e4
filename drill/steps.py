"""What was done, with its time, and what was promised, with its evidence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from hardtack.core.units import format_duration


@dataclass(frozen=True)
class Step:
    """Seconds that it took, what came of it, and whether the box had a network."""

    what: str
    network: str
    seconds: float
    result: str


class Broken(RuntimeError):
    """A promise that doesn't hold."""


@dataclass
class Record:
    """All steps in their order; the promises with what showed that they hold."""

    tell: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)
    promises: dict[str, str] = field(default_factory=dict)
    network: str = "up"

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """One step; what is appended to the list is its result."""
        said: list[str] = []
        started = time.monotonic()
        yield said
        done = Step(what, self.network, time.monotonic() - started, "; ".join(said))
        self.steps.append(done)
        self.tell(f"{format_duration(done.seconds):>8}  {done.network:4}  {what}  {done.result}")

    def holds(self, promise: str, evidence: str) -> None:
        """A promise and what showed that it holds."""
        self.promises[promise] = evidence

    def as_text(self, seconds: float) -> str:
        """Two tables: the steps, and what was promised."""
        steps = [
            (s.what, s.network, format_duration(s.seconds), s.result) for s in self.steps
        ]  # fmt: skip
        return "\n\n".join([
            _table(("step", "network", "time", "result"), steps),
            _table(("promised", "evidence"), list(self.promises.items())),
            f"All of it held, in {format_duration(seconds)}.",
        ])  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {
            "steps": [asdict(step) for step in self.steps],
            "promises": [{"promise": p, "evidence": e} for p, e in self.promises.items()],
        }


def expect(condition: object, said: str) -> None:
    """Raises Broken with `said` unless it is so."""
    if not condition:
        raise Broken(said)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = [head, ["─" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
