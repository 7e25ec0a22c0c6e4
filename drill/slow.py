"""First boots over bad links: each completes, over power cuts, and loads each byte once."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.commands import clean_environment

from drill import chart
from drill.box import Box
from drill.delay import delaying
from drill.network import BUCKET_PORTS, SITE, Network
from drill.site import Site
from drill.steps import Record, expect
from hardtack.core.units import format_duration, format_size

_ONCE = 1.02
_WITHIN = 0.7
"""Where in its share of the bytes the power is cut: within a file."""
_FLYING = 3 << 20
"""Bytes that come then before it is, or a twentieth of all: chunks land together, and what is on
its way is what a cut can take."""


@dataclass(frozen=True)
class Link:
    """Bytes a second, percent of packets lost, seconds that an answer takes; the files and the
    size of each; how often the power is cut while they come, and how many bytes may be lost each
    time where few come: those of a second."""

    name: str
    rate: int
    loss: int = 0
    latency: float = 0.0
    file: int = 16_000_000
    files: int = 12
    cuts: int = 3
    lost: int = 0

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.file * self.files

    @property
    def most(self) -> float:
        """Bytes that may come at most."""
        return _ONCE * self.size + self.lost * self.cuts


FULL = (
    Link("1 MB/s with 5 % loss", 1_000_000, loss=5),
    Link("50 kB/s", 50_000, file=6_000_000, files=3),
    Link("2 s latency", 10_000_000, latency=2.0, file=24_000_000),
)
SHORT = (Link("1 MB/s with 5 % loss", 1_000_000, loss=5, file=500_000, cuts=2, lost=1_000_000),)


def first_boot(record: Record, network: Network, site: Site, box: Box, link: Link) -> None:
    """Raises Broken where it doesn't complete, or loads bytes twice."""
    bucket = f"slow-{link.rate}-{link.loss}"
    box.power_off()
    box.boot()
    chance = random.Random(link.name)
    objects = {f"models/{n}/model.bin": chance.randbytes(link.file) for n in range(link.files)}
    for key, body in objects.items():
        site.s3.put(bucket, key, body)
    with record.step(f"first boot over {link.name}, {link.cuts} power cuts") as said:
        with _shaped(network, link) as port:
            weights = _Weights(site, box, bucket, link, port)
            if link.latency:
                said.append(f"an answer takes {_answer(box, port):.1f} s")
            began, before = time.monotonic(), network.weights()
            for cut in range(link.cuts):
                with weights.mounted():
                    weights.until((cut + _WITHIN) / link.cuts)
                    time.sleep(min(_FLYING, link.size // 20) / link.rate)
                    weights.present()
                box.power_off()
                box.boot()
            with weights.mounted():
                weights.until(1.0)
                took = time.monotonic() - began
                came = network.weights() - before
                seen = weights.read(objects)
        expect(not seen, f"These read wrong: {seen}")
        for what, count in (("fetched", weights.fetched), ("over the cable", came)):
            expect(count <= link.most, f"{count} bytes {what}, of {link.size}.")
        said.append(f"{format_size(link.size)} whole after {format_duration(took)}; "
                    f"{came / link.size:.3f} times its size came over the cable, "
                    f"{weights.fetched / link.size:.3f} as the box counts")  # fmt: skip
    record.holds(f"first boot over {link.name}", "; ".join(said))


@contextmanager
def _shaped(network: Network, link: Link) -> Iterator[int]:
    """The port of the bucket's server behind such a link."""
    near, far = BUCKET_PORTS
    with ExitStack() as stack:
        network.shape(f"{link.rate * 8}bit", link.loss)
        stack.callback(network.unshape)
        if not link.latency or network.hold_back(link.latency):
            yield near
            return
        enter = network.move_to_site
        stack.enter_context(delaying((SITE, far), (SITE, near), link.latency, enter))
        yield far


def _answer(box: Box, port: int) -> float:
    """Seconds from a request on an open connection to the server's answer."""
    program = (
        "import http.client, sys, time; c = http.client.HTTPConnection(sys.argv[1], sys.argv[2]); "
        "c.request('HEAD', '/'); c.getresponse().read(); began = time.monotonic(); "
        "c.request('HEAD', '/'); c.getresponse().read(); print(time.monotonic() - began)"
    )
    return float(box.do(sys.executable, "-c", program, SITE, str(port)))


class _Weights:
    """The mount on the box, and what it has fetched in all its lives."""

    def __init__(self, site: Site, box: Box, bucket: str, link: Link, port: int) -> None:
        self.fetched = self._before = 0
        self._box = box
        self._source = f"s3://{bucket}"
        self._point = f"{chart.EDGE}/{bucket}"
        self._size = link.size
        self._env = {
            **site.s3.env, "HARDTACK_CACHE": f"{chart.EDGE}/{bucket}-cache",
            "HARDTACK_KEEP_FREE": "0", "AWS_ENDPOINT_URL": f"http://{SITE}:{port}",
            "HARDTACK_PROGRESS_DEADLINE": "60s",
        }  # fmt: skip

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """The mount, and a reader that waits for all of it, until the power is cut."""
        self._box.path(self._point).mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "hardtack", "mount", self._source, self._point, "-f"]
        waits = [sys.executable, "-m", "hardtack", "wait", self._point, "**", "--timeout", "30m"]
        with (self._box.directory / "slow.log").open("ab") as log:
            started = [self._start(command, log)]
            deadline = time.monotonic() + 300
            while self._status() is None:
                expect(time.monotonic() < deadline, "The mount never answers.")
                time.sleep(0.1)
            started.append(self._start(waits, log))
            self._before = self.fetched
            try:
                yield
            finally:
                for process in reversed(started):
                    process.kill()
                    process.wait()
                self._box.tried("umount", "--lazy", self._point)

    def until(self, part: float) -> None:
        """Until so much of it is on the box."""
        deadline = time.monotonic() + 1800
        while (present := self.present()) < part * self._size:
            expect(time.monotonic() < deadline, f"It never is whole: {present} bytes are there.")
            time.sleep(0.05)

    def present(self) -> int:
        """Bytes that are on the box; what it has fetched is noted."""
        status = self._status()
        if status is None:
            return 0
        self.fetched = self._before + status["fetched_bytes_total"]
        return int(status["present_bytes"])

    def read(self, objects: Mapping[str, bytes]) -> list[str]:
        """The keys whose files on the mount aren't the bucket's bytes."""
        program = (
            "import hashlib, json, pathlib, sys; print(json.dumps({k: hashlib.sha256("
            "pathlib.Path(sys.argv[1], k).read_bytes()).hexdigest() for k in sys.argv[2:]}))"
        )
        told = json.loads(self._box.do(sys.executable, "-c", program, self._point, *objects))
        return [k for k, body in objects.items() if told[k] != hashlib.sha256(body).hexdigest()]

    def _start(self, command: list[str], log: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._box.enter(*command), env=clean_environment(self._env), stdout=log, stderr=log
        )

    def _status(self) -> Any:
        done = subprocess.run(
            self._box.enter(sys.executable, "-m", "hardtack", "status", self._point, "--json"),
            env=clean_environment(self._env), capture_output=True, text=True, check=False,
        )  # fmt: skip
        return json.loads(done.stdout)[self._point] if done.returncode == 0 else None
