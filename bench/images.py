"""`python -m bench images [PART…]`: pulling, sharing, resuming, loading and scanning images, each
against what people use today. The registry is on loopback: the tools are measured, not a link."""

from __future__ import annotations

import os
import shutil
import sys

from bench import imports, manifests, pulls, suite

PARTS: dict[str, suite.Part] = {
    "pull": pulls.against_peers,
    "idle": pulls.nothing_to_do,
    "share": pulls.shared_layers,
    "resume": pulls.resumed,
    "load": imports.load,
    "scan": manifests.scan,
}
_NEEDED = ("docker-registry", "skopeo", "containerd", "ctr")


def main() -> int:
    missing = [program for program in _NEEDED if shutil.which(program) is None]
    if os.geteuid() != 0 or missing:
        print(f"bench images: needs root and {', '.join(missing or _NEEDED)}.", file=sys.stderr)
        return 2
    return suite.main("images", __doc__, PARTS, list(PARTS))
