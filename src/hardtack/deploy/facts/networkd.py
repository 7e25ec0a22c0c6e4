"""Whether systemd-networkd takes the interface that `box prepare` makes for its own: then it drops
the address and the route there, at its start or as soon as the interface is made."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from hardtack.deploy.facts.boot import Boot
from hardtack.deploy.facts.unitfiles import UnitFiles

OURS = "hardtack0"
"""The interface that needs no cable."""
PLACES = ("etc/systemd/network", "run/systemd/network", "usr/local/lib/systemd/network",
          "usr/lib/systemd/network", "lib/systemd/network")  # fmt: skip
_SERVICE = "systemd-networkd.service"
_TYPES, _KINDS = ("ether",), ("dummy", "bridge")


def claiming(root: Path) -> str:
    """The name of the file by which it does; empty where it doesn't, or isn't started at boot."""
    if not Boot(UnitFiles(root)).starts(_SERVICE):
        return ""
    files = {f.name: f for place in reversed(PLACES) for f in (root / place).glob("*.network")}
    for name in sorted(files):  # the first that fits is the one
        match, unmanaged = _read(files[name])
        if match is not None and _fits(match):
            return "" if unmanaged else name
    return ""


def _read(file: Path) -> tuple[dict[str, list[str]] | None, bool]:
    """What an interface must have, and whether the file has networkd leave it alone."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return None, False  # a link to /dev/null is read, and says nothing
    section, match, unmanaged = "", dict[str, list[str]](), False
    there = False
    for line in (line.strip() for line in lines):
        key, equals, value = (part.strip() for part in line.partition("="))
        if line.startswith("["):
            section = line.strip("[]")
            there |= section == "Match"
        elif equals and section == "Match" and not line.startswith(("#", ";")):
            match.setdefault(key, []).extend(value.split())
        elif (section, key) == ("Link", "Unmanaged"):
            unmanaged = value.lower() in ("yes", "true", "1", "on")
    return (match if there else None), unmanaged


def _fits(match: dict[str, list[str]]) -> bool:
    """Whether our interface is meant; by what it hasn't (an address of metal, a path), no."""
    has = {"Name": (OURS,), "Type": _TYPES, "Kind": _KINDS}
    return bool(match) and all(key in has and _any(has[key], match[key]) for key in match)


def _any(has: tuple[str, ...], patterns: list[str]) -> bool:
    without = patterns[0].startswith("!") if patterns else False
    plain = [pattern.lstrip("!") for pattern in patterns]
    found = any(fnmatchcase(one, pattern) for one in has for pattern in plain)
    return found != without
