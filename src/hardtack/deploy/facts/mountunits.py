"""Units that mount something: where, whether at boot, and whether systemd takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardtack.deploy.facts.boot import Boot
from hardtack.deploy.facts.unitfiles import UnitFiles, of_path

_FSTAB = "/etc/fstab"
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_ALL = "*.mount"


def place(files: UnitFiles, unit: str) -> str:
    """Where the unit mounts something, which its name says; empty where no file says what."""
    return _path(unit) if files.there(unit) else ""


def at_boot(boot: Boot) -> frozenset[str]:
    """The places that units mount by themselves at the next start."""
    return frozenset(
        _path(unit) for unit in _written(boot) if _started(boot, unit) and not wrong(boot, unit)
    )


def idle(boot: Boot) -> dict[str, str]:
    """Place → the unit that would mount it, if anything started that."""
    return {_path(unit): unit for unit in _written(boot) if not _started(boot, unit)}


def refused(boot: Boot) -> dict[str, str]:
    """Unit that is started at boot → why systemd doesn't take it."""
    started = (unit for unit in _written(boot) if _started(boot, unit))
    return {unit: why for unit in started if (why := wrong(boot, unit))}


def wrong(boot: Boot, unit: str) -> str:
    """Why systemd refuses the unit; empty where it doesn't."""
    said = dict(boot.files.settings(unit))  # of each key the last
    where = said.get("Where", "")
    parts = where.split("/")
    taken = where.startswith("/") and ".." not in parts and "%" not in where  # else passed over
    if taken and of_path(where) != boot.files.id(unit):
        return f"Where={where} is that of {of_path(where)}"
    return "" if said.get("What") else "it has no What="


def _written(boot: Boot) -> Iterator[str]:
    """Those that are more than a line of /etc/fstab, which is read itself: what was made of that
    at this start needn't be made at the next."""
    for unit in boot.files.names(_ALL):
        by_itself = boot.files.there(unit) and boot.files.id(unit) == unit
        if by_itself and _FSTAB not in boot.said(unit).get("SourcePath", []):
            yield unit


def _started(boot: Boot, unit: str) -> bool:
    return bool({unit, unit.removesuffix("mount") + "automount"} & boot.started)


def _path(unit: str) -> str:
    text = unit.removesuffix(".mount").replace("-", "/").encode()
    return "/" + _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), text).decode(
        errors="replace"
    ).lstrip("/")
