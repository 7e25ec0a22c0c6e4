"""Which disks have too little room for a box to come up. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_size
from hardtack.deploy.facts.model import Facts, Space

_LEAST = 64_000_000
_LEAST_INODES = 0.02
_EVICTION = 0.05  # k3s's own, of nodefs and imagefs


def full(facts: Facts) -> Iterator[tuple[Space, int]]:
    """Each space with fewer bytes free than it needs, and how many that is."""
    for space in facts.spaces:
        least = max(_LEAST, _eviction(facts, space))
        if space.free < least:
            yield space, least


def out_of_inodes(facts: Facts) -> Iterator[Space]:
    """Each space on which hardly another file can be made."""
    for space in facts.spaces:
        if space.inodes and space.inodes_free < _LEAST_INODES * space.inodes:
            yield space


def _eviction(facts: Facts, space: Space) -> int:
    """The free bytes below which the kubelet evicts pods."""
    if facts.k3s is None or "k3s" not in space.path.parts:
        return 0
    given = facts.k3s.kubelet.get("eviction-hard", "")
    found = [int(_EVICTION * space.total)]
    for text in re.findall(r"(?:nodefs|imagefs)\.available<([^,]+)", given):
        try:
            percent = text.endswith("%")
            part = float(text[:-1]) / 100 * space.total if percent else parse_size(text)
            found.append(int(part))
        except (ValueError, OverflowError, ConfigError):
            continue  # the kubelet itself refuses it
    return max(found)
