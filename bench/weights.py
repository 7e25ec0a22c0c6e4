"""`python -m bench weights [PART…]`: how good the mount is, as ratios to its limits and its peers.

Each part can be run alone; its figures take the place of its last ones in `weights.json`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import cold, lean, offline, suite, warm

PARTS: dict[str, suite.Part] = {
    "warm": warm.figures,
    "cold": cold.throughput,
    "shaped": cold.shaped,
    "together": cold.together,
    "sparse": cold.sparse,
    "offline": offline.figures,
    "crash": lean.crash,
    "memory": lean.busy_memory,
    "version": lean.start,
}


def main() -> int:
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        print("bench weights: needs root and /dev/fuse (network namespace, caches).",
              file=sys.stderr)  # fmt: skip
        return 2
    return suite.main("weights", __doc__, PARTS, list(PARTS))
