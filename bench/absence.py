"""A cloud that goes away under load, and comes back."""

from __future__ import annotations

import base64
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.endpoints import write_models

from bench import cloud
from bench.edge import Edge, edge
from bench.figures import Figure
from bench.ground import Ground
from bench.overhead import named
from bench.queries import Answers, closed, picture, request
from hardtack.demo.detectors import Sample

_EVERY = 100
"""One of so many image queries is below the threshold."""
_UNSURE = {"confidence_threshold": "1.0"}
_CLIENTS = 4


def cut(ground: Ground) -> Iterator[Figure]:
    """The cable is pulled in mid-load: the edge's answers before and after, one client."""
    sample = named("shape")
    count = 300 if ground.rounds == 1 else 1500
    ratios, before, after = [], [], []
    for _ in range(ground.rounds):
        with _box(ground, sample, answering=False) as (running, _):
            body = picture(sample)
            asked = request(sample.id, body), request(sample.id, body, **_UNSURE)
            _some(running, asked, 100)
            seconds, unsure = _some(running, asked, count)
            online = [s for s, cloud_too in zip(seconds, unsure, strict=True) if not cloud_too]
            ground.link.cut()
            try:
                seconds, unsure = _some(running, asked, count)
            finally:
                ground.link.mend()
            first = unsure.index(True)  # what notices that the cloud is away pays its deadline
            offline = seconds[:first] + seconds[first + 1 :]
            before.append(_p99(online) * 1000)
            after.append(_p99(offline) * 1000)
            ratios.append(after[-1] / before[-1])
    yield Figure(
        "cloud cut in mid-load, p99", statistics.median(ratios), 1.2, at_least=False,
        meaning="of the edge's answers from the second unsure query on / before; 1 % unsure",
        values={"cut": statistics.median(after), "online": statistics.median(before)}, unit="ms",
    )  # fmt: skip


def queue(ground: Ground) -> Iterator[Figure]:
    """Ten thousand queries, 1 % unsure, the cable out for most of them."""
    sample = named("shape")
    total = 1000 if ground.rounds == 1 else 10_000
    with _box(ground, sample, answering=True) as (running, url):
        asked = _numbered(sample, total)
        refused = _several(running, asked, total // 5)
        ground.link.cut()
        try:
            refused += _several(running, asked, total * 3 // 5)
        finally:
            ground.link.mend()
        begun = time.monotonic()
        refused += _several(running, asked, total // 5)
        while running.json("/status/metrics.json")["cloud"]["queue"]["size"]:
            if time.monotonic() - begun > 120:
                raise SystemExit(f"not empty: {running.json('/status/metrics.json')['cloud']}")
            time.sleep(0.1)
        took = time.monotonic() - begun
        came = cloud.received(url)
    unsure = total // _EVERY
    counted = sum(came.counted.values())
    yield Figure(
        "queue delivered in full", len(came.counted) / unsure, 1.0, at_least=True,
        meaning=f"unsure image queries that the cloud has, of {unsure} in {total}; the cable was "
        "out for three fifths",
        values={"has": len(came.counted), "refused by the box": refused,
                "seconds after the link's return": took},
    )  # fmt: skip
    yield Figure(
        "queue delivered, each once", counted - len(came.counted), 0.0, at_least=False,
        meaning="image queries that the cloud counted twice. Where a reply is lost with the cable "
        "the query is told again, under its one id, and the cloud, which counts an id once, "
        "says 409",
        values={"counted": counted, "told": came.told},
    )  # fmt: skip


def _numbered(sample: Sample, total: int) -> Iterator[bytes]:
    """Image queries, 1 % of them unsure, each of these with a number of its own."""
    body, media = sample.picture(), "image/png"
    sure = request(sample.id, body, media)
    for number in range(total):
        if number % _EVERY == _EVERY // 2:
            metadata = base64.urlsafe_b64encode(json.dumps({"number": number}).encode()).decode()
            yield request(sample.id, body, media, metadata=metadata, **_UNSURE)
        else:
            yield sure


@contextmanager
def _box(ground: Ground, sample: Sample, *, answering: bool) -> Iterator[tuple[Edge, str]]:
    """An endpoint with a cloud beyond the link, and the cloud's address. `answering`: the box's
    answer is promised, each unsure query follows through the queue."""
    work = ground.work / f"box{time.monotonic_ns()}"
    work.mkdir()
    models = write_models(work, [sample])
    config = work / "edge.yaml"
    own = {"always_return_edge_prediction": answering, "min_time_between_escalations": 1e-6}
    config.write_text(
        json.dumps(
            {
                "global_config": {"confident_audit_rate": 0},
                "edge_inference_configs": {"own": own},
                "detectors": [{"detector_id": sample.id, "edge_inference_config": "own"}],
            }
        )
    )
    with cloud.cloud(ground.link) as url:
        options = ("--upstream", url, "--config", str(config), "--deadline", "2s")
        token = {"GROUNDLIGHT_API_TOKEN": "api_" + "1" * 40, "NO_PROXY": "*"}
        with edge(work, models, [sample], *options, env=token) as running:
            running.wait_ready()
            yield running, url


def _some(
    running: Edge, asked: tuple[bytes, bytes], count: int
) -> tuple[list[float], list[bool]]:  # fmt: skip
    """Seconds of each answer to one client, and whether that query was unsure."""
    unsure = [number % _EVERY == _EVERY // 2 for number in range(count)]
    left = iter(unsure)

    def following() -> bytes | None:
        is_unsure = next(left, None)
        return None if is_unsure is None else asked[is_unsure]

    found = _all_answered(closed(running.port, following, clients=1))
    return found.seconds, unsure


def _several(running: Edge, asked: Iterator[bytes], count: int) -> int:
    """The next so many queries by several clients; how many were refused."""
    some = itertools.islice(asked, count)
    found = closed(running.port, lambda: next(some, None), clients=_CLIENTS)
    return sum(found.refused.values())


def _all_answered(found: Answers) -> Answers:
    if found.refused:
        raise SystemExit(f"image queries were refused: {found.refused}")
    return found


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.99 * len(seconds))]
