"""What the endpoint costs: against decoding and running the model in one process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.endpoints import write_models

from bench.edge import edge
from bench.figures import Figure
from bench.ground import Ground
from bench.queries import Answers, closed, picture, request
from hardtack.demo.detectors import SAMPLES, Sample

_SMALL, _BIG = "shape", "text-lines"
"""The model takes a millisecond (decoding is the rest); and as much as detectors usually take."""
_CLIENTS = 16


def latency(ground: Ground) -> Iterator[Figure]:
    """One client: what an answer takes beyond decoding and the model."""
    sample = named(_SMALL)
    seconds = 2.0 if ground.rounds == 1 else 6.0
    rounds = ground.rounds
    added: dict[float, list[float]] = {0.5: [], 0.99: []}
    whole: dict[float, list[float]] = {0.5: [], 0.99: []}
    with _serving(ground, sample) as (port, models, body):
        asked = request(sample.id, body)
        closed(port, lambda: asked, clients=1, seconds=1.0)
        for _ in range(rounds):
            limit = _alone(models, sample, body, ground.work, threads=1, seconds=seconds)
            through = closed(port, lambda: asked, clients=1, seconds=seconds)
            for part, found in added.items():
                found.append(1000 * (through.quantile(part) - limit.quantile(part)))
                whole[part].append(1000 * through.quantile(part))
    for part, bar in ((0.5, 4.0), (0.99, 10.0)):
        own = statistics.median(added[part])
        total = statistics.median(whole[part])
        yield Figure(
            f"added latency, p{part * 100:.0f}", own, bar, at_least=False,
            meaning="ms that an answer takes beyond decoding and the model in one process, one "
            f"client, JPEG of {len(body) // 1000} kB",
            values={"endpoint": total, "one process": total - own}, unit="ms",
        )  # fmt: skip


def throughput(ground: Ground) -> Iterator[Figure]:
    """Sixteen clients: answers a second, as a share of what the machine's cores could do."""
    for name in (_BIG, _SMALL):
        yield _throughput(ground, named(name))


def _throughput(ground: Ground, sample: Sample) -> Figure:
    seconds = 2.0 if ground.rounds == 1 else 8.0
    rates: dict[str, list[float]] = {"endpoint": [], "one process": []}
    with _serving(ground, sample) as (port, models, body):
        asked = request(sample.id, body)
        closed(port, lambda: asked, clients=_CLIENTS, seconds=1.0)
        for _ in range(ground.rounds):
            through = closed(port, lambda: asked, clients=_CLIENTS, seconds=seconds)
            if through.refused:
                raise SystemExit(f"{_CLIENTS} clients were refused: {through.refused}")
            rates["endpoint"].append(through.rate)
            cores = os.cpu_count() or 1
            limit = _alone(models, sample, body, ground.work, threads=cores, seconds=seconds)
            rates["one process"].append(limit.rate)
    ours, limit_rate = (statistics.median(found) for found in rates.values())
    return Figure(
        f"throughput, {_CLIENTS} clients, {sample.name}", ours / limit_rate, 0.7, at_least=True,
        meaning="answers a second / the same pictures decoded and judged in one process with a "
        "thread for each core",
        values={"endpoint": ours, "one process": limit_rate}, unit="a second",
    )  # fmt: skip


class _serving:
    """An endpoint with one detector: its port, its models, and the picture to ask about."""

    def __init__(self, ground: Ground, sample: Sample) -> None:
        self._sample = sample
        self._work = ground.work
        self._models = write_models(ground.work / sample.name, [sample])
        self._running = edge(ground.work, self._models, [sample])

    def __enter__(self) -> tuple[int, Path, bytes]:
        running = self._running.__enter__()
        running.wait_ready()
        return running.port, self._models, picture(self._sample)

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)


def _alone(
    models: Path, sample: Sample, body: bytes, work: Path, *, threads: int, seconds: float
) -> Answers:
    """Decode and run in one process of its own, by so many threads."""
    path = work / "picture.jpg"
    path.write_bytes(body)
    done = subprocess.run(
        [sys.executable, "-m", "bench.judge", str(models / sample.id), str(path), str(threads),
         str(seconds)],
        check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    told = json.loads(done.stdout)
    return Answers(seconds=told["seconds"], took=told["took"])


def named(name: str) -> Sample:
    """The sample detector of that name."""
    return next(sample for sample in SAMPLES if sample.name == name)
