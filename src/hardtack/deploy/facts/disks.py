"""Whether k3s awaits the disk with its data. Pure."""

from __future__ import annotations

from pathlib import Path

from hardtack.deploy.facts.k3s import DATA
from hardtack.deploy.facts.k3s_start import UNITS
from hardtack.deploy.facts.model import Facts


def unawaited(facts: Facts) -> list[str]:
    """The place of k3s's data where its mount may fail or be late (nofail), and where k3s starts
    all the same; at most one."""
    units = [u for u in facts.systemd.units if u.name in UNITS] if facts.systemd else []
    optional = {each.place for each in facts.fstab if "nofail" in each.options}
    awaited = [Path(place) for unit in units for place in unit.mounts]
    return sorted(
        {
            space.place
            for space in facts.spaces
            if units
            and space.path.parts[-len(DATA.parts) :] == DATA.parts
            and space.place in optional
            and not any(path.is_relative_to(space.place) for path in awaited)
        }
    )
