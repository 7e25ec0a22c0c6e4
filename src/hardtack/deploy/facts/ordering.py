"""What a unit of systemd's waits for before it starts, directly or through others: a network, or
the time that somebody on it tells."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_duration
from hardtack.deploy.facts.model import Waiter
from hardtack.deploy.facts.unitfiles import links, masked, settings, there, where

ONLINE = "network-online.target"
_POINTS = (ONLINE, "time-sync.target")
"""Targets that are reached when a network is there, or its time."""
_WAITING = re.compile(
    r"(.+-wait-online|systemd-time-wait-sync|timesync-?wait|(chrony|ntp|ntpsec)-wait)(@.*)?\.service"
)
"""Services that do nothing but wait for that."""
_FIRST = ("sysinit.target", "basic.target")
"""What every unit comes after that doesn't say otherwise."""
_PULLING = ("Wants", "Requires", "Requisite", "BindsTo", "Upholds")
_NEEDING = ("Requires", "Requisite", "BindsTo")


class Ordering:
    """The order in which the units below `root` start."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._said: dict[str, dict[str, list[str]]] = {}

    def waiters(self, unit: str) -> tuple[Waiter, ...]:
        """The services for which `unit` waits, and that wait themselves."""
        before = self._before(unit)
        found = {name for name in before if _WAITING.fullmatch(name)}
        reached = before.intersection(_POINTS)
        found |= {n for by, _, n in self._links if by in reached and n.endswith(".service")}
        return tuple(self._waiter(name) for name in sorted(found) if not masked(self._root, name))

    def impossible(self, unit: str) -> tuple[str, ...]:
        """What `unit` doesn't start without, and that fails with no network, or isn't there."""
        found: list[str] = []
        seen, pending = {unit}, [unit]
        while pending:
            for name in self._needed(pending.pop()):
                if name in seen:
                    continue
                seen.add(name)
                service = name.endswith(".service")
                if service and (_WAITING.fullmatch(name) or not there(self._root, name)):
                    found.append(name)
                else:
                    pending.append(name)
        return tuple(found)

    def mounts(self, unit: str) -> list[str]:
        """The places whose mounts `unit` awaits."""
        said = self._of(unit)
        named = [w for key in ("RequiresMountsFor", "WantsMountsFor") for w in said.get(key, [])]
        after = [where(self._root, w) for w in said.get("After", []) if w.endswith(".mount")]
        return [*named, *filter(None, after)]

    def _needed(self, unit: str) -> list[str]:
        said = [name for key in _NEEDING for name in self._of(unit).get(key, [])]
        return said + [name for by, how, name in self._links if (by, how) == (unit, "requires")]

    def _before(self, unit: str) -> set[str]:
        """What is ordered before `unit`; of what is started with it or at boot, as order binds no
        other."""
        seen = {unit}
        pending = [unit, *_FIRST]
        while pending:
            one = pending.pop()
            said = self._of(one)
            pulled = {name for key in _PULLING for name in said.get(key, [])}
            after = {
                name
                for name in said.get("After", [])
                if name.endswith(".target") or name in pulled or name in self._started
            }
            after |= {name for name in pulled if one in self._of(name).get("Before", [])}
            after |= self._sooner.get(one, set())
            pending += after - seen
            seen |= after
        return seen

    @cached_property
    def _links(self) -> list[tuple[str, str, str]]:
        """(what starts another, how: `wants` or `requires`, that other)."""
        pairs = ((link.parent.name.rpartition("."), link.name) for link in links(self._root))
        return [(by, how, name) for (by, _, how), name in pairs]

    @cached_property
    def _started(self) -> frozenset[str]:
        return frozenset(name for _, _, name in self._links)

    @cached_property
    def _sooner(self) -> dict[str, set[str]]:
        """Unit → what is started at boot and says itself that it comes before that."""
        found: dict[str, set[str]] = {}
        for name in self._started:
            for later in self._of(name).get("Before", []):
                if not masked(self._root, name):
                    found.setdefault(later, set()).add(name)
        return found

    def _of(self, unit: str) -> dict[str, list[str]]:
        """Key → the words of all its lines."""
        if unit not in self._said:
            said: dict[str, list[str]] = {}
            for key, value in settings(self._root, unit):
                said.setdefault(key, []).extend(value.split())
            self._said[unit] = said
        return self._said[unit]

    def _waiter(self, name: str) -> Waiter:
        """The bound as it stands last; a word such as `infinity` is none."""
        seconds: float | None = None
        for key, value in settings(self._root, name):
            if key in ("TimeoutStartSec", "TimeoutSec"):
                try:
                    seconds = parse_duration(value.replace("sec", "s").replace("min", "m")) or None
                except ConfigError:
                    seconds = None
        return Waiter(name, seconds)
