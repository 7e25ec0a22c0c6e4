"""Cameras: threads that ask detectors without end, and count what they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import urllib3

from hardtack.demo.detectors import SAMPLES, Sample

CAMERAS = ("digit", "zero", "shape")


@dataclass
class Load:
    """`failed`: what was answered that isn't an answer; `longest`: seconds of the slowest."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    longest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def cameras(url: str) -> Iterator[Load]:
    """Three cameras on the endpoint at `url`, until the end."""
    load, end = Load(), threading.Event()
    chosen = [sample for sample in SAMPLES if sample.name in CAMERAS]
    threads = [
        threading.Thread(target=_ask, args=(url, sample, load, end), daemon=True)
        for sample in chosen
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _ask(url: str, sample: Sample, load: Load, end: threading.Event) -> None:
    pool = urllib3.PoolManager()
    body = sample.picture()
    while not end.wait(0.05):
        began = time.monotonic()
        failure = ""
        try:
            reply = pool.request(
                "POST", f"{url}/device-api/v1/image-queries?detector_id={sample.id}", body=body,
                headers={"content-type": "image/png"}, retries=False, timeout=30,
            )  # fmt: skip
            if reply.status != 200 or not reply.json()["result"]["from_edge"]:
                failure = f"{sample.name}: {reply.status} {reply.data[:200]!r}"
        except urllib3.exceptions.HTTPError as error:
            failure = f"{sample.name}: {error}"
        with load.lock:
            load.answered += not failure
            load.longest = max(load.longest, time.monotonic() - began)
            if failure:
                load.failed.append(failure)
    pool.clear()
