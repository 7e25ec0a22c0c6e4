"""The verdict of `ready`, kept for others to read: the status page, Prometheus, the next run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from hardtack.core.files import write_atomically
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Report, State

FILE, RATE = "ready.json", "ready-rate.json"


def verdict(report: Report) -> dict[str, Any]:
    """What `ready.json` holds: `missing` is a line for each thing that is amiss, `checks` the names
    of the checks that found it, `bytes` what must come over the network."""
    amiss = [row for row in report.rows if row.state is not State.READY]
    seconds = report.missing / report.rate if report.rate and report.missing else None
    return {
        "ready": report.ready,
        "at": round(report.at),
        "missing": [f"{row.part} {row.name}: {row.detail}" for row in amiss],
        "checks": sorted({row.check.value for row in amiss}),
        "bytes": report.missing,
        "seconds": seconds,
    }


METRICS = (
    ("hardtack_ready", "1 when the box would come up with the cable pulled"),
    ("hardtack_ready_checked_timestamp_seconds", "when that was looked at"),
    ("hardtack_ready_missing_bytes", "bytes that must come over the network first"),
    ("hardtack_ready_amiss", "things with which a check isn't content"),
)


def metrics(report: Report) -> str:
    """The verdict as Prometheus reads it; every check has a value, so that alerts see it go."""
    count = Counter(row.check for row in report.rows if row.state is not State.READY)
    values = {
        METRICS[0][0]: [("", float(report.ready))],
        METRICS[1][0]: [("", report.at)],
        METRICS[2][0]: [("", float(report.missing))],
        METRICS[3][0]: [(f'{{check="{check}"}}', float(count[check])) for check in Check],
    }
    lines = []
    for name, meaning in METRICS:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
        lines += [f"{name}{labels} {value:.15g}" for labels, value in values[name]]
    return "\n".join(lines) + "\n"


def publish(report: Report, state: Path, textfile: Path | None = None) -> None:
    """Write `ready.json` into `state`, the metrics into `textfile`; each whole or not at all."""
    state.mkdir(parents=True, exist_ok=True)
    write_atomically(state / FILE, json.dumps(verdict(report), indent=1).encode() + b"\n")
    if textfile is not None:
        write_atomically(textfile, metrics(report).encode())


def note_rate(state: Path, rate: float, now: float) -> None:
    """Keep what was measured for the next report."""
    state.mkdir(parents=True, exist_ok=True)
    document = {"version": 1, "rate": rate, "at": round(now)}
    write_atomically(state / RATE, json.dumps(document).encode())


def noted_rate(state: Path) -> float | None:
    """Bytes a second as they were measured last; None where nothing tells them: a damaged note is
    no reason to report nothing."""
    try:
        rate = float(json.loads((state / RATE).read_bytes())["rate"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return rate if rate > 0 else None
