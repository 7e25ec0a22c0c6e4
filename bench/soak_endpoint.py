"""`python -m bench soak-endpoint`: nine detectors under load for minutes; memory stays flat, and
no image query fails."""

from __future__ import annotations

import argparse
import collections
import itertools
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from bench.edge import Edge, edge, write_models
from bench.figures import Figure
from bench.ground import Ground
from bench.queries import closed, request
from hardtack.demo.detectors import SAMPLES

GROWTH = 16.0
"""MiB by which the last quarter may lie above the second, of endpoint and nine servers."""
_CLIENTS = 4
_MALFORMED = (b"not a picture", b"\xff\xd8\xff\xe0" + bytes(200))


def figures(ground: Ground) -> Iterator[Figure]:
    """A short soak: growth within a minute and a half of load."""
    yield _figure(_soak(ground.work, 20.0 if ground.rounds == 1 else 90.0))


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench soak-endpoint", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hardtack-bench-") as work:
        figure = _figure(_soak(Path(work), arguments.minutes * 60))
    print(" | ".join(figure.row()))
    return 0 if figure.verdict == "met" else 1


class _Soak:
    """What was answered, and the memory meanwhile in MiB."""

    def __init__(self) -> None:
        self.answers: collections.Counter[int] = collections.Counter()
        self.memory: list[float] = []

    @property
    def growth(self) -> float:
        quarter = max(1, len(self.memory) // 4)
        settled = statistics.median(self.memory[quarter : 2 * quarter] or self.memory)
        return statistics.median(self.memory[-quarter:]) - settled


def _soak(work: Path, seconds: float) -> _Soak:
    found = _Soak()
    models = write_models(work)
    stop = threading.Event()
    with edge(work, models) as running:
        running.wait_ready()
        sampling = threading.Thread(
            target=_sample, args=(running, found.memory, stop, seconds / 60)
        )
        sampling.start()
        try:
            following = itertools.cycle(_requests()).__next__
            answers = closed(running.port, following, clients=_CLIENTS, seconds=seconds)
        finally:
            stop.set()
            sampling.join()
    found.answers[200] = len(answers.seconds)
    found.answers.update(answers.refused)
    return found


def _requests() -> list[bytes]:
    """Each sample's picture, the small models' more often, and some that are no pictures."""
    asked = []
    for sample in SAMPLES:
        often = 1 if sample.network else 10
        asked += [request(sample.id, sample.picture(), "image/png")] * often
        asked += [request(sample.id, body) for body in _MALFORMED]
    return asked


def _sample(running: Edge, memory: list[float], stop: threading.Event, every: float) -> None:
    while not stop.wait(every):
        memory.append(sum(running.memory().values()))


def _figure(soak: _Soak) -> Figure:
    unexpected = {status for status in soak.answers if status not in (200, 400)}
    if unexpected:
        sys.exit(f"image queries failed: {dict(soak.answers)}")
    return Figure(
        "soak, growth of memory", soak.growth, GROWTH, at_least=False,
        meaning=f"MiB (PSS) of endpoint and nine servers, last quarter against the second; "
        f"{soak.answers[200]} answers, {soak.answers[400]} refused as no pictures",
        values={"at most": max(soak.memory), "at the end": soak.memory[-1]}, unit="MiB",
    )  # fmt: skip
