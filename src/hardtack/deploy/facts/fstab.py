"""/etc/fstab: what is mounted at boot."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hardtack.deploy.facts import texts
from hardtack.deploy.facts.links import tidied
from hardtack.deploy.facts.model import Entry

WEIGHTS = ("hardtack", "fuse.hardtack")
"""Kinds of mounts that are of weights."""
_BY = {
    "UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel",
}  # fmt: skip
_DISKS = Path("dev/disk")
_PLAIN = re.compile(r"[\w.-]+")
"""Names that udev's links have as they are."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


def read(root: Path) -> tuple[Entry, ...]:
    """The lines of the file below `root`."""
    lines = texts.of(root / "etc/fstab").splitlines()
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return tuple(_entry(root, *given) for given in fields if len(given) > 2)


def weights(root: Path) -> list[Entry]:
    """The lines that mount weights at boot, or when they are asked for."""
    ours = [entry for entry in read(root) if entry.kind in WEIGHTS]
    return [e for e in ours if "noauto" not in e.options or "x-systemd.automount" in e.options]


def _entry(root: Path, source: str, place: str, kind: str, options: str = "", *_: str) -> Entry:
    source, place, options = map(_unescaped, (source, place, options))
    if place.startswith("/"):
        place = tidied(place)
    return Entry(source, place, kind, frozenset(options.split(",")), _there(root, source))


def _unescaped(word: str) -> str:
    """A blank is written as \\040."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), word)


def _there(root: Path, source: str) -> bool:
    """False for a disk of the box that isn't there; what can't be told is there."""
    if not (root / _DISKS).is_dir():
        return True  # nobody keeps the names of disks here
    how, equals, name = source.partition("=")
    name = name.strip('"')
    if equals and how in _BY and _PLAIN.fullmatch(name):
        return os.path.lexists(root / _DISKS / _BY[how] / name)
    return not source.startswith("/dev/") or os.path.lexists(root / source.lstrip("/"))
