"""Figures: what was measured, against what, and whether its bar is met; as table and docs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "<!-- begin: {} -->", "<!-- end: {} -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    `ratio` is what `bar` is held against (see `at_least`); `values` are the medians behind it
    in `unit`, ours first, by who was measured.
    """

    name: str
    ratio: float
    bar: float
    at_least: bool
    meaning: str
    values: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    ahead_of: Sequence[str] = ()
    lower_is_better: bool = False

    @property
    def verdict(self) -> str:
        """`met` when the bar holds and the peers are behind that it must be ahead of."""
        if not (self.ratio >= self.bar if self.at_least else self.ratio <= self.bar):
            return "MISSED"
        before = [p for p in self.ahead_of if p in self.values and not self._ahead(p)]
        return f"BEHIND {', '.join(before)}" if before else "met"

    def _ahead(self, peer: str) -> bool:
        ours, theirs = self.values["hardtack"], self.values[peer]
        return ours <= theirs if self.lower_is_better else ours >= theirs

    def row(self) -> tuple[str, ...]:
        sign = ">=" if self.at_least else "<="
        values = ", ".join(f"{who} {number(value)}" for who, value in self.values.items())
        return (
            self.name,
            number(self.ratio),
            f"{sign} {number(self.bar)}",
            self.verdict,
            self.meaning,
            f"{values} {self.unit}".strip(),
        )


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def median_of(times: int, *measures: Callable[[], float]) -> list[float]:
    """Medians of `times` rounds; each round takes every measure once, so that noise is shared."""
    return [statistics.median(column) for column in zip(*rounds_of(times, *measures), strict=True)]


def rounds_of(times: int, *measures: Callable[[], float]) -> list[list[float]]:
    """What each of `times` rounds measured, in the order of `measures`."""
    return [[measure() for measure in measures] for _ in range(times)]


HEADINGS = ("figure", "measured", "bar", "", "what", "medians")


def table(figures: Iterable[Figure]) -> str:
    """A table for terminals and Markdown both."""
    rows = [HEADINGS, *(figure.row() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |"
             for r in rows]  # fmt: skip
    lines.insert(1, "| " + " | ".join("-" * w for w in widths) + " |")
    return "\n".join(lines)


def write_between(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers called `name` in the page at `path`."""
    begin, end = BEGIN.format(name), END.format(name)
    page = path.read_text()
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no markers {begin} … {end}.")
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
