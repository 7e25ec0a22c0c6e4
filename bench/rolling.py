"""A detector's model rolled forward again and again under image queries: none may fail."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.endpoints import write_models

from bench.edge import Edge, edge
from bench.figures import Figure
from bench.ground import Ground
from bench.overhead import named
from bench.queries import picture, request, steady
from hardtack.demo.detectors import Sample

_RATE = 20.0
_LOOK = 0.05
_PROBATION = "2s"
"""How long the version before is kept beside the new one: short, so that it ends under load too."""


class _Rolls:
    """Publishes the next version as soon as the one before serves."""

    def __init__(self, running: Edge, models: Path, sample: Sample) -> None:
        self.served: list[float] = []
        """Seconds from each version's publication until it served."""
        self.trouble = ""
        self._running, self._sample = running, sample
        self._primary = models / sample.id / "primary"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._roll)

    def __enter__(self) -> _Rolls:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _roll(self) -> None:
        for version in itertools.count(2):
            made = self._primary.parent / f".making-{version}"
            shutil.copytree(self._primary / "1", made)
            made.rename(self._primary / str(version))  # whole at once, as a mount shows it
            begun = time.monotonic()
            while self._server()["version"] != str(version):
                if self._end.wait(_LOOK):
                    return
            self.served.append(time.monotonic() - begun)
            if refused := self._server()["refused"]:
                self.trouble = f"good versions were refused: {refused}"
                return

    def _server(self) -> dict[str, object]:
        told = self._running.json("/status/metrics.json")["detectors"][self._sample.id]["server"]
        assert isinstance(told, dict)
        return told


def rolling(ground: Ground) -> Iterator[Figure]:
    """Versions one after another under 20 queries a second."""
    sample = named("shape")
    seconds = 8.0 if ground.rounds == 1 else 30.0
    models = write_models(ground.work, [sample])
    options = ("--model-refresh", "200ms", "--probation", _PROBATION)
    with edge(ground.work, models, [sample], *options) as running:
        running.wait_ready()
        asked = request(sample.id, picture(sample))
        with _Rolls(running, models, sample) as rolls:
            found = steady(running.port, asked, rate=_RATE, seconds=seconds)
    if rolls.trouble or not rolls.served:
        raise SystemExit(f"rolling: {rolls.trouble or 'no version was rolled'}")
    yield Figure(
        "rolling a model version, failed queries", sum(found.refused.values()), 0.0, at_least=False,
        meaning=f"image queries without an answer while {len(rolls.served)} versions took over, "
        f"{_RATE:.0f} a second for {seconds:.0f} s",
        values={"answered": len(found.seconds), "versions": len(rolls.served),
                "slowest answer, ms": 1000 * max(found.seconds),
                "slowest version, s": max(rolls.served)},
    )  # fmt: skip
