"""Ten thousand boxes that update at once, against S3's limits: a simulation, no measurement.

The waits are those of the product (`core.backoff`), the sizes of requests those of the mount. Links
and sizes are assumptions, printed with the result. The seed is fixed: same code, same table.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.figures import number, write_between
from hardtack.cache.api import Options
from hardtack.cache.background import FLEET_BACKOFF
from hardtack.core.backoff import Backoff, Stagger
from hardtack.core.units import format_size

GETS_A_SECOND = 5500
"""Amazon's figure for GET and HEAD, for each prefix of a bucket; a page of a listing counts as one.
Requests beyond it are answered 503 (Slow Down)."""
KEYS_A_PAGE = 1000
LINKS = ((0.2, 50e3), (0.6, 1e6), (0.2, 10e6))
"""(share of the boxes, bytes a second)."""
BOXES = 10_000
_PAGE_SECONDS = 0.05
PAGE_BYTES = 350_000
"""Of 1,000 keys of 100 characters."""
DOCS = Path(__file__).parents[1] / "docs/scale.md"


class Begin(Enum):
    """When a box first sees what is new."""

    IN_STEP = "all start in the same moment, and don't wait as the product does"
    START = "all start in the same moment: the power returns"
    OUTAGE = "all run, and tried in vain for a long time: the bucket, or the way to it, is back"
    RUNNING = "all run, and it is published"


@dataclass(frozen=True)
class Scenario:
    """`begin`: when the boxes meet the update."""

    name: str
    size: float = 200e6
    objects: int = 1000
    interval: float = Options().refresh_interval
    begin: Begin = Begin.RUNNING

    @property
    def pages(self) -> int:
        return -(-self.objects // KEYS_A_PAGE)


SCENARIOS = (
    Scenario("power returns; if boxes didn't stagger", begin=Begin.IN_STEP),
    Scenario("power returns", begin=Begin.START),
    Scenario("… 20,000 objects", objects=20_000, begin=Begin.START),
    Scenario("the bucket is back after an outage", begin=Begin.OUTAGE),
    Scenario("… 20,000 objects", objects=20_000, begin=Begin.OUTAGE),
    Scenario("published while all run"),
    Scenario("… 20,000 objects", objects=20_000),
    Scenario("… 1 GB of new weights", size=1e9),
    Scenario("… listed every 60 s", interval=60),
    Scenario("… 20,000 objects, listed every 60 s", objects=20_000, interval=60),
)


@dataclass(frozen=True)
class Result:
    """`peak`: requests in the busiest second, those refused too; `wire`: bytes a second at most;
    `half`, `all`: seconds until so many boxes had everything; `steady`: listings a second once
    nothing is new."""

    scenario: Scenario
    peak: int
    refused: int
    wire: float
    total: float
    half: float
    all: float
    steady: float

    def row(self) -> tuple[str, ...]:
        return (
            self.scenario.name, f"{self.peak:,}", f"{100 * self.peak / GETS_A_SECOND:.0f} %",
            f"{self.refused:,}", number(self.wire * 8 / 1e9), number(self.total / 1e12),
            _time(self.half), _time(self.all), f"{self.steady:,.0f}",
        )  # fmt: skip


HEADINGS = (
    "what happens", "requests/s at most", "of S3's limit", "refused", "Gbit/s at most", "TB in all",
    "half are done after", "all after", "listings/s later",
)  # fmt: skip


class Box:
    """One box: its link, and what it has still to ask for."""

    def __init__(self, scenario: Scenario, rate: float, options: Options) -> None:
        self.pages = scenario.pages
        whole, rest = divmod(int(scenario.size), options.max_request)
        self.ranges = [rest] * bool(rest) + [options.max_request] * whole
        self.rate, self.share = rate, rate / options.connections
        self.connections = 1
        """Those at work: one for the listing, then as many as the mount has."""


class Store:
    """The bucket: so many requests each second, the rest refused."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()
        self.refused = 0

    def takes(self, now: float) -> bool:
        self.asked[int(now)] += 1
        if self.asked[int(now)] <= GETS_A_SECOND:
            return True
        self.refused += 1
        return False


def simulate(scenario: Scenario, boxes: int = BOXES, seed: int = 1) -> Result:
    """Every request of every box, in the order of time: a connection that is free asks for the
    next page or range of its box; one that is refused waits and asks again."""
    rng, options, store = random.Random(seed), Options(), Store()
    fleet = [Box(scenario, rate, options) for rate in _rates(boxes, rng)]
    serial = itertools.count()
    free: list[tuple[float, int, Box, Iterator[float] | None]] = []
    for box in fleet:
        heapq.heappush(free, (_begin(scenario, rng), next(serial), box, None))
    changes: defaultdict[int, float] = defaultdict(float)
    done: list[float] = []
    while free:
        now, _, box, delays = heapq.heappop(free)
        if not box.pages and not box.ranges:
            box.connections -= 1
            if not box.connections:
                done.append(now)
        elif not store.takes(now):
            delays = delays or Backoff(first=0.2).delays(rng)
            heapq.heappush(free, (now + next(delays), next(serial), box, delays))
        elif box.pages:
            box.pages -= 1
            box.connections = 1 if box.pages else options.connections
            seconds = _PAGE_SECONDS + PAGE_BYTES / box.rate
            changes[int(now)] += box.rate
            changes[int(now + seconds)] -= box.rate
            for _ in range(box.connections):
                heapq.heappush(free, (now + seconds, next(serial), box, None))
        else:
            seconds = box.ranges.pop() / box.share
            changes[int(now)] += box.share
            changes[int(now + seconds)] -= box.share
            heapq.heappush(free, (now + seconds, next(serial), box, None))
    mean = (1 + Stagger(scenario.interval).least) / 2 * scenario.interval
    return Result(
        scenario, max(store.asked.values()), store.refused, _highest(changes),
        boxes * scenario.size, done[len(done) // 2], done[-1], boxes * scenario.pages / mean,
    )  # fmt: skip


def _rates(boxes: int, rng: random.Random) -> list[float]:
    shares, rates = zip(*LINKS, strict=True)
    return rng.choices(rates, shares, k=boxes)


def _begin(scenario: Scenario, rng: random.Random) -> float:
    stagger = Stagger(scenario.interval)
    match scenario.begin:
        case Begin.IN_STEP:
            return 0.0
        case Begin.START:
            return stagger.first(rng)
        case Begin.OUTAGE:
            return _rest_of(lambda: 1 + rng.uniform(0, FLEET_BACKOFF), 1 + FLEET_BACKOFF, rng)
        case Begin.RUNNING:
            return rng.uniform(0, stagger.next(rng))


def _rest_of(wait: Callable[[], float], longest: float, rng: random.Random) -> float:
    """What is left of the wait in which a moment falls: long ones are met more often."""
    while rng.uniform(0, longest) > (length := wait()):
        pass
    return rng.uniform(0, length)


def _highest(changes: dict[int, float]) -> float:
    level = highest = 0.0
    for second in sorted(changes):
        level += changes[second]
        highest = max(highest, level)
    return highest


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def assumptions(boxes: int) -> str:
    """What the table holds for."""
    options = Options()
    links = ", ".join(f"{100 * share:.0f} % at {format_size(rate)}/s" for share, rate in LINKS)
    return (
        f"{boxes:,} boxes ({links}), {format_size(SCENARIOS[0].size)} of new weights in requests "
        f"of {options.max_request >> 20} MiB, {options.connections} at once; 1,000 objects listed "
        f"every {SCENARIOS[0].interval / 60:g} min, where nothing else is said:"
    )


def table(results: list[Result]) -> str:
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(result.row() for result in results)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench fleet", description=__doc__)
    parser.add_argument("--boxes", type=int, default=BOXES)
    parser.add_argument(
        "--write-docs", action="store_true", help="write the table of docs/scale.md"
    )
    given = parser.parse_args()
    rows = table([simulate(scenario, given.boxes) for scenario in SCENARIOS])
    text = f"{assumptions(given.boxes)}\n\n{rows}"
    print(text)
    if given.write_docs:
        write_between(DOCS, "fleet", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
