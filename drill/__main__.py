"""`python -m drill`: the whole drill, or parts of it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trustme

from drill import api, chart, image, negative, slow
from drill.cluster import Cluster
from drill.ground import alone, clean, ends, laid
from drill.hands import Lengths
from drill.steps import Record
from drill.story import Story


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run drill", description=__doc__)
    parser.add_argument("--short", action="store_true", help="what the tests run")
    parser.add_argument("--json", action="store_true", help="the record as JSON on stdout")
    parser.add_argument("--page", action="store_true", help="write docs/drill.md's output anew")
    parser.add_argument("--flap", type=float, default=60, help="seconds for which the link flaps")
    parser.add_argument("--only", choices=("negative", "links"), help="that part alone")
    parser.add_argument("--wait", action="store_true", help="until no other drill runs")
    asked = parser.parse_args()
    ends()
    with alone(wait=asked.wait):
        clean()
        drill_as(asked)


def drill_as(asked: argparse.Namespace) -> None:
    """The parts that were asked for; what was recorded is printed at the end."""
    started = time.monotonic()
    record = Record(lambda line: print(line, file=sys.stderr, flush=True))
    lengths = Lengths(flap=asked.flap)
    if asked.short:
        lengths = Lengths(flap=min(asked.flap, 6), load=0.5)
    with record.step("our image, built here") as said:
        archive = image.archive()
        chart.program()
        said.append(archive.name)
    with story(record, archive, lengths) as drill:
        if asked.only is None:
            drill.run()
        elif asked.only == "negative":
            drill.run_to_ready()
        if asked.only != "links":
            negative.run(drill)
            drill.cluster.down()
        if asked.only != "negative":
            for link in slow.SHORT if asked.short else slow.FULL:
                slow.first_boot(record, drill.network, drill.site, drill.box, link)
    text = record.as_text(time.monotonic() - started)
    if asked.page and asked.only is None:
        page = image.ROOT / "docs/drill.md"
        before, _, _ = page.read_text().partition("<!-- drill -->")
        command = "./run drill" + (" --short" if asked.short else "")
        page.write_text(
            f"{before.rstrip()}\n\n<!-- drill -->\n"
            f"What `{command}` said:\n\n```text\n{text}\n```\n<!-- /drill -->\n"
        )
    if asked.json:
        print(json.dumps(record.as_json(), indent=1))
    else:
        print(text)


@contextmanager
def story(record: Record, archive: Path, lengths: Lengths) -> Iterator[Story]:
    """A site and a box that is switched on, with nothing on it; nothing is left at the end."""
    with ExitStack() as held:
        with record.step("a site: registry, bucket, cloud; a box") as said:
            ground = held.enter_context(laid(archive))
            authority = trustme.CA()
            cluster = Cluster(ground.box, ground.network, authority.cert_pem.bytes())
            held.callback(cluster.down)
            drill = Story(record, ground, cluster, lengths)
            ground.site.put(drill.objects)
            said.append(f"{len(drill.objects)} objects in the bucket")
        held.callback(ground.box.power_off)
        ground.box.boot()
        held.enter_context(api.serving(cluster, authority))
        yield drill


if __name__ == "__main__":
    main()
