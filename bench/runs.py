"""What was measured when: the parts of a bench, each with its own run, in one JSON file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, table
from bench.machine import LOAD


@dataclass(frozen=True, slots=True)
class Run:
    """One part, measured at full size: when (UTC), on which machine, and what was found."""

    at: str
    machine: dict[str, str]
    figures: list[Figure]


def load(path: Path) -> dict[str, Run]:
    """Part → its last run."""
    if not path.exists():
        return {}
    return {
        part: Run(run["at"], run["machine"], [Figure(**figure) for figure in run["figures"]])
        for part, run in json.loads(path.read_text()).items()
    }


def save(path: Path, runs: dict[str, Run]) -> None:
    """Write all parts."""
    plain = {part: dataclasses.asdict(run) for part, run in runs.items()}
    path.write_text(json.dumps(plain, indent=1) + "\n")


def report(runs: dict[str, Run]) -> str:
    """Machine, times and table, as Markdown."""
    newest = max(runs.values(), key=lambda run: run.at)
    head = [f"- {name}: {value}" for name, value in newest.machine.items() if name != LOAD]
    when = "; ".join(f"{part} {run.at} ({run.machine[LOAD]})" for part, run in runs.items())
    head.append(f"- when each part was run, UTC (load of the machine before it): {when}")
    figures = [figure for run in runs.values() for figure in run.figures]
    return "\n".join(head) + f"\n\n{table(figures)}"
