"""A real Kubernetes of one node on the drill's box, built with Go: does the chart hold there?

Root, Go, and what the drill needs; ten minutes of two cores to build Kubernetes the first time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time

import trustme
from drill.ground import clean, ends, laid
from drill.steps import Record, Step
from tests.support.helm import kubectl

from bench import machine
from bench.cluster import broken, programs
from bench.cluster.control import Kubernetes
from bench.cluster.names import Names
from bench.cluster.story import Proof
from bench.figures import write_between
from bench.suite import ROOT
from drill import chart, image
from hardtack.deploy.prepare import route

_RESULT = ROOT / "bench/cluster.json"


def main() -> int:
    """The proof; its steps and promises in `cluster.json`. Raises Broken where one doesn't hold."""
    parser = argparse.ArgumentParser(prog="bench cluster", description=__doc__)
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args()
    ends()
    record = Record(lambda line: print(line, file=sys.stderr, flush=True))
    started = time.monotonic()
    clean()
    with record.step("Kubernetes, built here") as said:
        said.append(programs.directory().name)
    with record.step("our image, built here") as said:
        archive = image.archive()
        said.append(archive.name)
        chart.program()
        kubectl()
    with laid(archive) as ground:
        ground.box.boot()
        kubernetes = Kubernetes(ground.box, trustme.CA())
        proof = Proof(record, ground, kubernetes)
        ground.site.put(proof.objects)
        Names(route.ADDRESS, kubernetes.ask)
        proof.run()
        broken.run(proof)
        broken.cut_short(proof)
        broken.uninstall(proof)
    at = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M")
    seconds = time.monotonic() - started
    found = {"at": at, "machine": machine.facts(ROOT), "seconds": seconds, **record.as_json()}
    _RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(record.as_text(seconds))
    if asked.write_docs:
        write_docs()
    return 0


def write_docs() -> None:
    """What the last proof found, into docs/benchmarks.md."""
    found = json.loads(_RESULT.read_text())
    record = Record(
        print, [Step(**step) for step in found["steps"]],
        {one["promise"]: one["evidence"] for one in found["promises"]},
    )  # fmt: skip
    facts = found["machine"]
    head = (f"{found['at']} UTC, {facts['CPU']}, kernel {facts['kernel']}, hardtack "
            f"{facts['hardtack']}, load of the machine {facts[machine.LOAD]}:")  # fmt: skip
    text = f"{head}\n\n```text\n{record.as_text(found['seconds'])}\n```"
    write_between(ROOT / "docs/benchmarks.md", "cluster", text)
