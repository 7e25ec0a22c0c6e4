"""What systemd's unit files say: what is started at boot, and what waits for a network."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from hardtack.deploy.facts import endpoint_start, fstab, mountunits
from hardtack.deploy.facts.boot import Boot
from hardtack.deploy.facts.conditions import unmet
from hardtack.deploy.facts.model import Systemd, Unit
from hardtack.deploy.facts.ordering import ONLINE, Ordering
from hardtack.deploy.facts.startable import failing, lacking
from hardtack.deploy.facts.unitfiles import UnitFiles

PREPARING = "hardtack-prepare.service"
_OURS = ("k3s.service", "k3s-agent.service", "containerd.service", "hardtack*.service")


def read(root: Path) -> Systemd | None:
    """What the unit files below `root` say; None where there is no systemd."""
    if not (root / "etc/systemd/system").is_dir():
        return None
    files = UnitFiles(root)
    boot = Boot(files)
    order = Ordering(boot)
    there = _there(files)
    units = tuple(_unit(root, name, boot, order) for name in there if not files.masked(name))
    ours = fstab.weights(root)
    units += tuple(
        Unit(f"the mount of {each.place} by /etc/fstab", order.waiters(ONLINE))
        for each in ours
        if "_netdev" in each.options
    )
    return Systemd(
        units,
        {name: str(files.emptied(name) or "") for name in there if files.masked(name)},
        (root / "run/systemd/system").is_dir(), bool(ours), mountunits.at_boot(boot),
        mountunits.idle(boot), mountunits.refused(boot),
        {name: how for name, how in files.fleeting.items() if _is_ours(name)},
    )  # fmt: skip


def names(files: UnitFiles) -> list[str]:
    """The units that a box of ours starts, without those that are masked."""
    return [name for name in _there(files) if not files.masked(name)]


def _there(files: UnitFiles) -> list[str]:
    return sorted({name for pattern in _OURS for name in files.names(pattern)})


def _is_ours(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _OURS)


def _unit(root: Path, name: str, boot: Boot, order: Ordering) -> Unit:
    said = list(boot.files.settings(name))
    commands = [value for key, value in said if key == "ExecStart" and value]
    fails = [
        setting
        for each in boot.instances(name)
        for setting in failing(root, each, boot.files.settings(each))
    ]
    fails += endpoint_start.missing(root, said) if name == endpoint_start.UNIT else ()
    return Unit(
        name, order.waiters(name), order.impossible(name), boot.starts(name),
        lacking(root, commands[-1]) if commands else "", frozenset(order.mounts(name)),
        unmet(root, said), tuple(dict.fromkeys(fails)),
    )  # fmt: skip
