"""What systemd starts at boot: the default target, what that pulls in, and what these do."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import PurePosixPath

from hardtack.deploy.facts.unitfiles import UnitFiles, of_path

_DEFAULT = "default.target"
_USUAL = ("multi-user.target", "graphical.target")
"""Of which the default is one where no file says so."""
_ALWAYS = ("basic.target", "sysinit.target", "local-fs.target", "sockets.target", "timers.target",
           "paths.target", "slices.target", "swap.target")  # fmt: skip
PULLING = ("Wants", "Requires", "Requisite", "BindsTo", "Upholds")
_MOUNTED_FOR = ("RequiresMountsFor", "WantsMountsFor")
_TRIGGERS = (".timer", ".path", ".socket")


class Boot:
    """The units of the next start."""

    def __init__(self, files: UnitFiles) -> None:
        self.files = files
        self._said: dict[str, dict[str, list[str]]] = {}

    def starts(self, unit: str) -> bool:
        """Whether the unit is started, or an instance of it; by a timer, a path or a socket too."""
        if self.instances(unit):
            return True
        known = self.files.id(unit)
        triggers = {known.rpartition(".")[0] + kind for kind in _TRIGGERS}
        return not triggers.isdisjoint(self.started)

    def instances(self, unit: str) -> list[str]:
        """What is started at boot of a unit, by itself: it, or of a template its instances."""
        pattern = self.files.id(unit).replace("@.", "@*.")
        return sorted(name for name in self.started if fnmatchcase(name, pattern))

    @cached_property
    def started(self) -> frozenset[str]:
        """All of them, by what systemd calls them."""
        default = self.files.id(_DEFAULT)
        first = [default] if self.files.there(default) else list(_USUAL)
        return self.pulled([*first, *_ALWAYS])

    def pulled(self, units: Iterable[str]) -> frozenset[str]:
        """These units, and all that is started with them."""
        seen: set[str] = set()
        pending = list(units)
        while pending:
            unit = pending.pop()
            if unit not in seen and not self.files.masked(unit):
                seen.add(unit)
                pending += self.pulls(unit)
        return frozenset(seen)

    def pulls(self, unit: str) -> set[str]:
        """What is started with the unit, by itself."""
        said = self.said(unit)
        named = {name for key in PULLING for name in said.get(key, [])}
        linked = {name for by, _, name in self.files.links if by == unit}
        return named | linked | self._mounts(said)

    def _mounts(self, said: dict[str, list[str]]) -> set[str]:
        """The units that mount what it needs, and what that lies on."""
        places = [PurePosixPath(place) for key in _MOUNTED_FOR for place in said.get(key, [])]
        places += [p for place in said.get("Where", []) for p in PurePosixPath(place).parents]
        names = {of_path(str(p)) for place in places for p in (place, *place.parents)}
        return {name for name in names if self.files.there(name)}

    def said(self, unit: str) -> dict[str, list[str]]:
        """Key → the words of all its lines; units by what systemd calls them."""
        if unit not in self._said:
            said: dict[str, list[str]] = {}
            for key, value in self.files.settings(unit):
                words = value.split()
                if key in (*PULLING, "After", "Before"):
                    words = list(map(self.files.id, words))
                said.setdefault(key, []).extend(words)
            self._said[unit] = said
        return self._said[unit]
