"""A real Kubernetes of one node on the drill's box, built with Go: does the chart hold there?

Root, Go, and what the drill needs; ten minutes of two cores to build Kubernetes the first time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
from drill.__main__ import clean, ends
from drill.box import Box, remove_groups
from drill.hands import TAG
from drill.steps import Record, Step
from drill.story import NEXT
from tests.support.helm import kubectl

from bench import machine
from bench.cluster import broken, programs
from bench.cluster.control import Kubernetes
from bench.cluster.names import Names
from bench.cluster.story import Proof
from bench.figures import write_between
from bench.suite import ROOT
from drill import chart, image, network, site
from hardtack.deploy.prepare import route

_RESULT = ROOT / "bench/cluster.json"
_PLACE = Path("/var/tmp")


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
    with ground(record, archive) as proof:
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


@contextmanager
def ground(record: Record, archive: Path) -> Iterator[Proof]:
    """A site with our image and a box with its power on; nothing is left at the end."""
    directory = _PLACE / f"hardtack-drill-{os.getpid()}"
    directory.mkdir()
    hosts = network.Network()
    try:
        hosts.make()
        with site.site(hosts, directory / "site") as there:
            there.publish(archive, TAG)
            there.publish_next(archive, NEXT)
            there.publish_pause()
            box = Box(directory / "box", hosts, site.PAUSE)
            box.make()
            try:
                box.boot()
                kubernetes = Kubernetes(box, trustme.CA())
                proof = Proof(record, hosts, there, box, kubernetes)
                there.put(proof.objects)
                Names(route.ADDRESS, kubernetes.ask)
                yield proof
            finally:
                box.power_off()
    finally:
        hosts.remove()
        remove_groups(directory.name)
        shutil.rmtree(directory)
