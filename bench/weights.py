"""`python -m bench weights [PART…]`: how good the mount is, as ratios to its limits and its peers.

Each part can be run alone; its figures take the place of its last ones in `weights.json`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import cold, lean, machine, offline, warm
from bench.figures import Figure, write_between
from bench.ground import Ground, ground
from bench.runs import Run, load, report, save

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "weights.json"
PARTS: dict[str, Callable[[Ground], Iterator[Figure]]] = {
    "warm": warm.figures,
    "cold": cold.throughput,
    "shaped": cold.shaped,
    "together": cold.together,
    "sparse": cold.sparse,
    "offline": offline.figures,
    "crash": lean.crash,
    "memory": lean.busy_memory,
    "version": lean.start,
}


def main() -> int:
    arguments = _arguments()
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        print("bench weights: needs root and /dev/fuse (network namespace, caches).",
              file=sys.stderr)  # fmt: skip
        return 2
    kept = {} if arguments.quick else load(RESULTS)
    done: dict[str, Run] = {}
    for part in arguments.parts or PARTS:
        done[part] = _measure(part, quick=arguments.quick)
        if not arguments.quick:  # at once: a later part may be cut short
            kept = {name: (kept | done)[name] for name in PARTS if name in kept | done}
            save(RESULTS, kept)
    print(report(done))
    if arguments.write_docs:
        write_between(ROOT / "docs" / "benchmarks.md", "weights", report(kept))
    return 0 if all(f.verdict == "met" for run in done.values() for f in run.figures) else 1


def _measure(part: str, *, quick: bool) -> Run:
    """One part on a ground of its own."""
    print(f"measuring {part} …", file=sys.stderr, flush=True)
    at = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M")
    with ground(quick=quick) as made:
        facts, found = machine.facts(made.work), []
        for figure in PARTS[part](made):
            print(" | ".join(figure.row()), file=sys.stderr, flush=True)
            found.append(figure)
    return Run(at, facts, found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench weights", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round; not kept")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    if arguments.quick and arguments.write_docs:
        parser.error("--quick measures too little for the docs")
    return arguments
