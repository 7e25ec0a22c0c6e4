"""Room on a disk so full that pods would be evicted: from what nobody misses.

Old journals and the packages that apt keeps. Weights and images are never touched: which of them
the box can do without, only a person knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.core.units import format_size
from hardtack.deploy.facts import room
from hardtack.deploy.prepare.step import Change, Step, Target, gone

JOURNAL = Path("var/log/journal")
KEPT = 64_000_000
"""Bytes of the journal that stay."""
_PACKAGES = Path("var/cache/apt/archives")


def plan(target: Target) -> Iterable[Change]:
    facts = target.facts()
    if not any(room.full(facts)) and not any(room.out_of_inodes(facts)):
        return
    yield from gone(
        target, [p.relative_to(target.root) for p in target.path(_PACKAGES).glob("*.deb")]
    )
    journals = sorted(target.path(JOURNAL).glob("*/*@*.journal"), key=lambda p: p.stat().st_mtime)
    size = sum(path.stat().st_size for path in target.path(JOURNAL).glob("*/*.journal"))
    for path in journals:  # the oldest first; those that are written to have no @ in their names
        if size <= KEPT:
            return
        size -= path.stat().st_size
        yield Change(f"remove {path} ({format_size(path.stat().st_size)})", path.unlink)


STEP = Step(
    "space",
    "a full disk rid of old journals and kept packages",
    plan,
    "stays: what was removed is gone",
)
