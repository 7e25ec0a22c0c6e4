"""What every bench of several parts does: measure them, keep them, print them, write the docs."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import machine
from bench.figures import Figure, write_between
from bench.ground import Ground, ground
from bench.runs import Run, load, report, save

ROOT = Path(__file__).resolve().parent.parent
Part = Callable[[Ground], Iterator[Figure]]


def main(name: str, about: str | None, parts: Mapping[str, Part], by_default: list[str]) -> int:
    """`bench NAME [PART…]`: each part on a ground of its own; its figures take the place of its
    last ones in `NAME.json`. The exit code: 0 where every bar is met."""
    arguments = _arguments(name, about, parts, by_default)
    results = ROOT / "bench" / f"{name}.json"
    kept = {} if arguments.quick else load(results)
    done: dict[str, Run] = {}
    for part in arguments.parts or by_default:
        done[part] = _measure(part, parts[part], quick=arguments.quick)
        if not arguments.quick:  # at once: a later part may be cut short
            kept = {known: (kept | done)[known] for known in parts if known in kept | done}
            save(results, kept)
    print(report(done))
    if arguments.write_docs:
        write_between(ROOT / "docs" / "benchmarks.md", name, report(kept))
    return 0 if all(f.verdict == "met" for run in done.values() for f in run.figures) else 1


def _measure(part: str, measure: Part, *, quick: bool) -> Run:
    print(f"measuring {part} …", file=sys.stderr, flush=True)
    at = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M")
    with ground(quick=quick) as made:
        facts, found = machine.facts(made.work), []
        for figure in measure(made):
            print(" | ".join(figure.row()), file=sys.stderr, flush=True)
            found.append(figure)
    return Run(at, facts, found)


def _arguments(
    name: str, about: str | None, parts: Mapping[str, Part], by_default: list[str]
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"bench {name}", description=about)
    parser.add_argument(
        "parts", nargs="*", metavar="PART",
        help=f"of {', '.join(parts)}; none: {', '.join(by_default)}",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small sizes, one round; not kept")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(parts):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(parts)}")
    if arguments.quick and arguments.write_docs:
        parser.error("--quick measures too little for the docs")
    return arguments
