"""What a unit of systemd's waits for before it starts, directly or through others: a network, or
the time that somebody on it tells."""

from __future__ import annotations

import re

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_duration
from hardtack.deploy.facts.boot import PULLING, Boot
from hardtack.deploy.facts.model import Waiter
from hardtack.deploy.facts.mountunits import place

ONLINE = "network-online.target"
_POINTS = (ONLINE, "time-sync.target")
"""Targets that are reached when a network is there, or its time."""
_WAITING = re.compile(
    r"(.+-wait-online|systemd-time-wait-sync|timesync-?wait|(chrony|ntp|ntpsec)-wait)(@.*)?\.service"
)
"""Services that do nothing but wait for that."""
_FIRST = ("sysinit.target", "basic.target")
"""What every unit comes after that doesn't say otherwise."""
_DIRECTORIES = {"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache"}
"""Whose mounts systemd awaits of itself."""
_NEEDING = ("Requires", "Requisite", "BindsTo")


class Ordering:
    """The order in which the units of a box start."""

    def __init__(self, boot: Boot) -> None:
        self._boot, self._files = boot, boot.files

    def waiters(self, unit: str) -> tuple[Waiter, ...]:
        """The services for which `unit` waits, and that wait themselves."""
        before = self._before(self._files.id(unit))
        found = {name for name in before if _WAITING.fullmatch(name)}
        reached = before.intersection(_POINTS)
        linked = self._files.links
        found |= {n for by, _, n in linked if by in reached and n.endswith(".service")}
        return tuple(self._waiter(name) for name in sorted(found) if not self._files.masked(name))

    def impossible(self, unit: str) -> tuple[str, ...]:
        """What `unit` doesn't start without, and that fails with no network, or isn't there."""
        found: list[str] = []
        pending = [self._files.id(unit)]
        seen = set(pending)
        while pending:
            for name in self._needed(pending.pop()):
                if name in seen:
                    continue
                seen.add(name)
                service = name.endswith(".service")
                if service and (_WAITING.fullmatch(name) or not self._files.there(name)):
                    found.append(name)
                else:
                    pending.append(name)
        return tuple(found)

    def mounts(self, unit: str) -> list[str]:
        """The places whose mounts `unit` awaits."""
        said = self._boot.said(self._files.id(unit))
        named = [w for key in ("RequiresMountsFor", "WantsMountsFor") for w in said.get(key, [])]
        named += [f"{top}/{w}" for key, top in _DIRECTORIES.items() for w in said.get(key, [])]
        after = [place(self._files, w) for w in said.get("After", []) if w.endswith(".mount")]
        return [*named, *filter(None, after)]

    def _needed(self, unit: str) -> list[str]:
        said = [name for key in _NEEDING for name in self._boot.said(unit).get(key, [])]
        linked = self._files.links
        return said + [name for by, how, name in linked if (by, how) == (unit, "requires")]

    def _before(self, unit: str) -> set[str]:
        """What is ordered before `unit`; of what is started with it or at boot, as order binds no
        other."""
        together = self._boot.started | self._boot.pulled([unit])
        sooner: dict[str, set[str]] = {}
        for name in together:
            for later in self._boot.said(name).get("Before", []):
                sooner.setdefault(later, set()).add(name)
        seen = {unit}
        pending = [unit, *_FIRST]
        while pending:
            one = pending.pop()
            said = self._boot.said(one)
            pulled = {name for key in PULLING for name in said.get(key, [])}
            after = {
                name
                for name in said.get("After", [])
                if name.endswith(".target") or name in pulled or name in together
            }
            after |= sooner.get(one, set())
            pending += after - seen
            seen |= after
        return seen

    def _waiter(self, name: str) -> Waiter:
        """The bound as it stands last; a word such as `infinity` is none."""
        seconds: float | None = None
        for key, value in self._files.settings(name):
            if key in ("TimeoutStartSec", "TimeoutSec"):
                try:
                    seconds = parse_duration(value.replace("sec", "s").replace("min", "m")) or None
                except ConfigError:
                    seconds = None
        return Waiter(name, seconds, self._files.fleeting.get(name) == "masked")
