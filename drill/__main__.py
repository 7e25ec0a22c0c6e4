"""`python -m drill`: the whole drill, or parts of it."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from drill import api, chart, image, negative, network, site, slow
from drill.box import Box, remove_groups
from drill.cluster import Cluster
from drill.hands import TAG, Lengths
from drill.steps import Record
from drill.story import NEXT, Story

_PLACE = Path("/var/tmp")
_NAME = "hardtack-drill-"
_TAKEN = "\0hardtack-drill"
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    directory = _PLACE / f"{_NAME}{os.getpid()}"
    directory.mkdir()
    hosts = network.Network()
    try:
        hosts.make()
        with site.site(hosts, directory / "site") as there:
            with record.step("a site: registry, bucket, cloud; a box") as said:
                there.publish(archive, TAG)
                there.publish_next(archive, NEXT)
                there.publish_pause()
                box = Box(directory / "box", hosts, site.PAUSE)
                box.make()
                authority = trustme.CA()
                cluster = Cluster(box, hosts, authority.cert_pem.bytes())
                drill = Story(record, hosts, there, box, cluster, lengths)
                there.put(drill.objects)
                said.append(f"{len(drill.objects)} objects in the bucket")
            try:
                box.boot()
                with api.serving(cluster, authority):
                    yield drill
            finally:
                box.power_off()
                cluster.down()
    finally:
        hosts.remove()
        remove_groups(directory.name)
        shutil.rmtree(directory)


def ends() -> None:
    """A signal that ends this process ends it in order."""
    for number in _ENDS:
        signal.signal(number, _end)


def _end(number: int, _: object) -> None:
    """End; what is cleaned up then is cleaned up whole, however often one asks."""
    for each in _ENDS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


@contextmanager
def alone(*, wait: bool = False) -> Iterator[None]:
    """No other drill of this machine runs meanwhile: a name that goes with the process is taken."""
    with socket.socket(socket.AF_UNIX) as taken:
        while True:
            try:
                taken.bind(_TAKEN)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if not wait:
                    sys.exit(
                        f"drill: another drill runs{_by()}. End it, wait for it, or say --wait."
                    )
            time.sleep(1)
        taken.listen()
        yield


def _by() -> str:
    """Whose drill runs, if it still does."""
    with socket.socket(socket.AF_UNIX) as asking:
        if asking.connect_ex(_TAKEN):
            return ""
        told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return f" (process {struct.unpack('3i', told)[0]})"


def clean() -> None:
    """Remove what drills left behind that were killed."""
    for pid in network.abandoned():
        network.remove(pid)
    for left in _PLACE.glob(f"{_NAME}[0-9]*"):
        if not Path("/proc", left.name.removeprefix(_NAME)).exists():
            subprocess.run(["umount", "--recursive", str(left)], check=False, capture_output=True)
            remove_groups(left.name)
            shutil.rmtree(left)


if __name__ == "__main__":
    main()
