"""`python -m bench endpoint [PART…]`: what the endpoint costs, how soon and how small a box is
ready, what a cloud that goes away does to it, and a model that is rolled forward."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import absence, overhead, rolling, soak_endpoint, startup, suite

PARTS: dict[str, suite.Part] = {
    "latency": overhead.latency,
    "throughput": overhead.throughput,
    "cold": startup.cold,
    "warm": startup.warm,
    "cut": absence.cut,
    "queue": absence.queue,
    "rolling": rolling.rolling,
    "soak": soak_endpoint.figures,
}


def main() -> int:
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        print("bench endpoint: needs root and /dev/fuse (network namespace, mount).",
              file=sys.stderr)  # fmt: skip
        return 2
    return suite.main("endpoint", __doc__, PARTS, list(PARTS))
