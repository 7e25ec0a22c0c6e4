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

from tests.support.endpoints import write_models

from bench.edge import Edge, edge
from bench.figures import Figure
from bench.ground import Ground
from bench.queries import closed, request
from hardtack.demo.detectors import SAMPLES

GROWTH = 16.0
"""MiB by which the last quarter may lie above the first after the warm-up, of all together."""
_CLIENTS = 4
_CROWD = 12
_CROWDED = 2.0
"""Seconds for which each detector alone is asked by a crowd, before memory is judged. A server
keeps what its busiest moment took, and callers who choose at random need minutes to have as many
pictures of one detector judged at once as may be."""
_MALFORMED = (b"not a picture", b"\xff\xd8\xff\xe0" + bytes(200))


def figures(ground: Ground) -> Iterator[Figure]:
    """A short soak: growth within a minute and a half of load, after the warm-up."""
    seconds = 20.0 if ground.rounds == 1 else 90.0
    yield _figure(_soak(ground.work, seconds), seconds / 60)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench soak-endpoint", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hardtack-bench-") as work:
        figure = _figure(_soak(Path(work), arguments.minutes * 60), arguments.minutes)
    print(" | ".join(figure.row()))
    return 0 if figure.verdict == "met" else 1


class _Soak:
    """What was answered, and the memory meanwhile in MiB, of endpoint and servers."""

    def __init__(self) -> None:
        self.answers: collections.Counter[int] = collections.Counter()
        self.memory: list[dict[str, float]] = []

    def growth(self, whose: str) -> float:
        """From the first quarter to the last, in MiB."""
        each = [of[whose] for of in self.memory]
        quarter = max(1, len(each) // 4)
        return statistics.median(each[-quarter:]) - statistics.median(each[:quarter])


def _soak(work: Path, seconds: float) -> _Soak:
    found = _Soak()
    models = write_models(work)
    stop = threading.Event()
    with edge(work, models) as running:
        running.wait_ready()
        for sample in SAMPLES:
            same = itertools.repeat(request(sample.id, sample.picture(), "image/png"))
            closed(running.port, same.__next__, clients=_CROWD, seconds=_CROWDED)
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


def _sample(
    running: Edge, memory: list[dict[str, float]], stop: threading.Event, every: float
) -> None:
    while not stop.wait(every):
        memory.append(running.memory())


def _figure(soak: _Soak, minutes: float) -> Figure:
    unexpected = {status for status in soak.answers if status not in (200, 400)}
    if unexpected:
        sys.exit(f"image queries failed: {dict(soak.answers)}")
    growth = {whose: soak.growth(whose) for whose in soak.memory[0]}
    return Figure(
        "soak, growth of memory", sum(growth.values()), GROWTH, at_least=False,
        meaning=f"MiB (PSS) of endpoint and nine servers, last quarter of {minutes:.3g} min "
        f"against the first, after a warm-up; {soak.answers[200]} answers, {soak.answers[400]} "
        "refused as no pictures",
        values={**growth, "all at the end": sum(soak.memory[-1].values())}, unit="MiB",
    )  # fmt: skip
