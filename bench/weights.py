"""`python -m bench weights`: how good the mount is, as ratios to its limits and its peers."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import cold, lean, machine, offline, warm
from bench.figures import Figure, save, table, write_between
from bench.ground import Ground, ground

ROOT = Path(__file__).resolve().parent.parent
FIGURES: dict[str, Callable[[Ground], Iterator[Figure]]] = {
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
    found: list[Figure] = []
    with ground(quick=arguments.quick) as made:
        facts = machine.facts(made.work)
        for name in arguments.only or FIGURES:
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            for figure in FIGURES[name](made):
                print(" | ".join(figure.row()), file=sys.stderr, flush=True)
                found.append(figure)
    head = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    text = f"{head}\n\n{table(found)}"
    print(text)
    now = datetime.datetime.now(tz=datetime.UTC)
    save(ROOT / "bench" / "results" / f"weights-{now:%Y-%m-%d}.json", facts, found)
    if arguments.write_docs:
        write_between(
            ROOT / "docs" / "benchmarks.md", "weights", f"Measured {now:%Y-%m-%d}.\n\n{text}"
        )
    return 0 if all(figure.met for figure in found) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench weights", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="may be repeated")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    return parser.parse_args()
