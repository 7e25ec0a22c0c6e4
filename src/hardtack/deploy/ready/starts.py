"""What is started at boot, and whether it waits for a network first. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hardtack.deploy.facts.model import Facts, Systemd, Unit
from hardtack.deploy.facts.systemd import PREPARING
from hardtack.deploy.ready.amiss import PREPARE, Amiss

_K3S = ("k3s.service", "k3s-agent.service")
_FLEETING = "until the next start alone (/run/systemd/system)"
_MOUNT, _ENDPOINT = "hardtack@.service", "hardtack-endpoint.service"


def order(facts: Facts) -> Iterable[Amiss]:
    """Services that wait for a network before they start."""
    if facts.systemd is None:
        return
    for unit in facts.systemd.units:
        for name in unit.impossible:
            yield (
                f"{unit.name} requires {name}, which fails without a network, or isn't there: it "
                "never starts",
                "Take that out of its unit file.",
            )
        for waiter in unit.waits:
            if waiter.long:
                now = f", and is masked {_FLEETING}" if waiter.masked else ""
                said = f"{unit.name} starts after {waiter.name}, which waits for a network{now}"
                yield said, PREPARE


def prepared(facts: Facts) -> Iterable[Amiss]:
    """What `box prepare` does is gone after a restart; it must run again then."""
    systemd = facts.systemd
    if systemd is None or (facts.k3s is None and not _of(systemd, (_MOUNT, _ENDPOINT))):
        return
    units = [unit for unit in _of(systemd, (PREPARING,)) if unit.started]
    if not units:
        yield "nothing prepares the box at its next start", PREPARE
    for unit in units:
        for condition in unit.unmet:
            said = f"{PREPARING} is passed over at boot: {condition} doesn't hold"
            yield said, "Take that out of what was added to its unit file."
        yield from _failing(unit)
        if unit.lacks:
            yield (
                f"{PREPARING} is to run {unit.lacks} at the next start, which isn't there, or is "
                "no program",
                "Install hardtack there; or elsewhere, then: hardtack box prepare.",
            )


def at_boot(facts: Facts) -> Iterable[Amiss]:
    """What systemd is there to start stays down after a restart where it was disabled or masked, or
    its program is gone: k3s, or without Kubernetes the mounts and the endpoint. Beside k3s these
    count where they are started."""
    for flag, file in facts.k3s.absent.items() if facts.k3s else ():
        yield (
            f"k3s waits for minutes for {file} ({flag}), which isn't there, and ends",
            f"Put it back, or take {flag} out of k3s's configuration.",
        )
    if facts.systemd is None:
        return
    if facts.k3s is not None:
        yield from _down(facts.systemd, _K3S)
        units = _of(facts.systemd, _K3S)
        if facts.systemd.runs and not units and not facts.systemd.masked.keys() & set(_K3S):
            yield (
                "no unit of systemd starts k3s",
                "Install k3s's service; where something else starts it: "
                "--without box.started-at-boot.",
            )
        for unit in _of(facts.systemd, (_MOUNT, _ENDPOINT)):
            yield from _broken(unit) if unit.started else ()
        return
    if not facts.systemd.fstab:
        yield from _down(facts.systemd, (_MOUNT,))
    yield from _down(facts.systemd, (_ENDPOINT,))


def upcoming(facts: Facts) -> Iterable[Amiss]:
    """A restart that starts what never ran here."""
    for version, lacks in facts.upcoming.kernels:
        yield (
            f"the kernel {version}, which is newer than the one that runs, lacks {lacks}: the box "
            "may not start from it",
            f"Install it again (Debian: apt install --reinstall linux-image-{version}), or remove "
            "it.",
        )
    if facts.upcoming.another_k3s:
        yield (
            "the program k3s was replaced since k3s started: the next start brings images of its "
            "own that nobody saw here",
            "Restart k3s while there is a network, or after its images were installed; then look "
            "again.",
        )


def _down(systemd: Systemd, names: tuple[str, ...]) -> Iterable[Amiss]:
    """Nothing where one of the units is started, or none is there at all."""
    units = _of(systemd, names)
    started = [unit for unit in units if unit.started]
    for unit in started:
        yield from _broken(unit)
    if started:
        return
    if units:
        name = units[0].name
        which = name.replace("@.", "@NAME.")
        now = f": it is enabled {_FLEETING}" if _passing(systemd, names, "enabled") else ""
        yield f"{name} is not started at boot{now}", f"Have it started: systemctl enable {which}."
    for name in sorted(systemd.masked.keys() & set(names)):
        if empty := systemd.masked[name]:
            yield (
                f"{empty} is empty, as a power cut leaves it: systemd takes {name} for masked",
                f"Install what brought it again; then: systemctl enable {name}.",
            )
        else:
            yield f"{name} is masked: it is not started at boot", _unmask(name)


def _broken(unit: Unit) -> Iterable[Amiss]:
    """What keeps a unit down that is to be started at boot."""
    if unit.lacks:
        yield (
            f"{unit.name} is to start {unit.lacks}, which isn't there, or is no program",
            "Put it back, or correct the unit's ExecStart.",
        )
    for condition in unit.unmet:
        yield (
            f"{unit.name} is passed over at boot: {condition} doesn't hold",
            "Have it hold, or take that out of its unit file.",
        )
    yield from _failing(unit)


def _failing(unit: Unit) -> Iterable[Amiss]:
    for setting in unit.fails:
        yield (
            f"{unit.name} fails at boot: {setting}, which isn't there",
            "Put it back, or correct the unit's file.",
        )


def passing(facts: Facts) -> str:
    """What is so until the next start alone, and is well then."""
    if facts.systemd is None:
        return ""
    masked = _passing(facts.systemd, (*_K3S, _MOUNT, _ENDPOINT, PREPARING), "masked")
    return f"{', '.join(masked)}: masked {_FLEETING}" if masked else ""


def _passing(systemd: Systemd, names: tuple[str, ...], how: str) -> list[str]:
    patterns = [name.replace("@.", "@*.") for name in names]
    return sorted(
        name
        for name, what in systemd.fleeting.items()
        if what == how and any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def _unmask(name: str) -> str:
    return f"Have it started: systemctl unmask {name}; systemctl enable {name}."


def _of(systemd: Systemd, names: tuple[str, ...]) -> list[Unit]:
    return [unit for unit in systemd.units if unit.name in names]
