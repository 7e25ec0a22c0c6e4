"""Are the disks mounted at boot, and before what needs them? Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.deploy.facts.disks import unawaited
from hardtack.deploy.facts.fstab import WEIGHTS
from hardtack.deploy.facts.k3s_start import UNITS
from hardtack.deploy.facts.model import Entry, Facts, Space, Systemd, Volume
from hardtack.deploy.ready.amiss import PREPARE, Amiss

_AWAY = ("s3fs", "mount-s3", "goofys", "geesefs", "rclone", "rclonefs", "gcsfuse", "blobfuse",
         "blobfuse2", "juicefs", "curlftpfs", "beegfs", "moosefs")  # fmt: skip
"""Kinds that need a network, which systemd doesn't know of them."""
_OPTIONAL = ("nofail", "noauto", "_netdev", "x-systemd.automount")
"""What keeps a line from holding up the start."""
_STARTED = (*UNITS, "hardtack@.service", "hardtack-endpoint.service")
_CACHE = "/var/cache/hardtack"
"""Where root's mounts have it that are told nothing else."""


def at_boot(facts: Facts) -> Iterable[Amiss]:
    """What /etc/fstab makes of a start, and whether it mounts what the box needs."""
    if facts.systemd is None:
        return
    for entry in facts.fstab:
        yield from _held_up(entry)
        yield from _too_soon(entry, facts.fstab)
    for volume in facts.crypttab:
        yield from _locked(volume, facts)
    for unit, why in facts.systemd.refused.items():
        yield (
            f"{unit}, which is to mount something at boot, is refused by systemd: {why}",
            "Correct it; what its file must be called says: "
            "systemd-escape --path --suffix=mount PLACE.",
        )
    for space in {space.place: space for space in facts.spaces}.values():
        yield from _mounted(space, facts, facts.systemd)
    yield from _covered(facts)
    yield from _late(facts, facts.systemd)
    for place in unawaited(facts):
        yield (
            f"k3s may start before {place} is mounted (nofail), in the empty directory below",
            PREPARE,
        )


def _held_up(entry: Entry) -> Iterable[Amiss]:
    """A line that must succeed before anything is started: else systemd starts a shell for whoever
    sits in front of the box."""
    if entry.options & set(_OPTIONAL) or entry.place == "/" or entry.kind == "swap":
        return
    kind = entry.source.partition("#")[0] if entry.kind == "fuse" else entry.kind
    if kind.removeprefix("fuse.") in _AWAY:
        yield (
            f"{entry.place} is mounted before anything starts ({kind}): without a network the box "
            "ends in emergency mode",
            "Add _netdev,nofail to its line in /etc/fstab.",
        )
    elif not entry.there:
        yield (
            f"{entry.source}, which /etc/fstab has mounted at {entry.place}, isn't there: the next "
            "start ends in emergency mode",
            "Correct or remove its line, or add nofail.",
        )


def _locked(volume: Volume, facts: Facts) -> Iterable[Amiss]:
    """An encrypted disk that waits for somebody, or for a network; one that nothing waits for
    counts where the box keeps there what it needs."""
    places = {space.place for space in facts.spaces}
    device = f"/dev/mapper/{volume.name}"
    needed = any(entry.source == device and entry.place in places for entry in facts.fstab)
    if volume.options & {"nofail", "_netdev"} and not needed:
        return
    if volume.asked:
        yield (
            f"{volume.name} of /etc/crypttab asks whoever sits in front of the box for a "
            f"passphrase at boot: {volume.asked}",
            "Give it a key that is on the box (tpm2-device=auto, or a key file), or nofail.",
        )
    elif "_netdev" in volume.options:
        yield (
            f"{volume.name} of /etc/crypttab is unlocked only when there is a network (_netdev)",
            "Take _netdev out of its line, and give it a key that is on the box.",
        )


def _too_soon(entry: Entry, fstab: Iterable[Entry]) -> Iterable[Amiss]:
    """A mount of weights whose cache lies on a disk that it doesn't await."""
    if entry.kind not in WEIGHTS or entry.options & {"noauto", "x-systemd.automount"}:
        return
    cache = Path(*_said(entry, "cache") or [_CACHE])
    awaited = [Path(entry.place), *map(Path, _said(entry, "x-systemd.requires-mounts-for"))]
    for disk in (each.place for each in fstab if each.place not in ("/", entry.place)):
        if cache.is_relative_to(disk) and not any(path.is_relative_to(disk) for path in awaited):
            needed = "nofail" in entry.options
            ends = "" if needed else ", and the box ends in emergency mode"
            yield (
                f"{entry.place} may be mounted before {disk}, on which its cache lies: then it "
                f"fails without a network{ends}",
                f"Add x-systemd.requires-mounts-for={cache}{'' if needed else ',nofail'} to its "
                "line in /etc/fstab.",
            )


def _said(entry: Entry, option: str) -> list[str]:
    pairs = (each.partition("=") for each in entry.options)
    return [value for name, _, value in pairs if name == option]


def _mounted(space: Space, facts: Facts, systemd: Systemd) -> Iterable[Amiss]:
    """The mount of a directory that the box needs."""
    entry = next((each for each in facts.fstab if each.place == space.place), None)
    if entry is not None and "x-systemd.automount" in entry.options:
        return
    if entry is not None and "noauto" in entry.options:
        yield f"{space.place} isn't mounted at boot (noauto)", "Take noauto out of /etc/fstab."
    elif entry is not None and "_netdev" in entry.options:
        yield (
            f"{space.place} is mounted only when there is a network (_netdev)",
            "Keep what lies there on a disk of this box; where it is one, take _netdev out of "
            "/etc/fstab.",
        )
    elif entry is None and systemd.runs and space.disk and not _by_itself(space, systemd):
        yield _not_by_itself(space.place, systemd)


def _covered(facts: Facts) -> Iterable[Amiss]:
    """A disk that isn't mounted now and will be, over what the box has there."""
    for entry in facts.fstab:
        place = Path(entry.place)
        for space in facts.spaces:
            above = entry.place != space.place and place.is_relative_to(space.place)
            if "noauto" not in entry.options and above and Path(space.known).is_relative_to(place):
                yield (
                    f"{space.path} lies on {space.place} now; the next start mounts {place} over "
                    "it, and what is here is hidden",
                    f"Mount it now (mount {place}), and look again; or take its line out of "
                    "/etc/fstab.",
                )


def _late(facts: Facts, systemd: Systemd) -> Iterable[Amiss]:
    """A disk that may be late (nofail), with what k3s, the mounts or the endpoint need: those that
    are sooner find nothing there. (k3s's own data: `unawaited`.)"""
    units = [each for each in systemd.units if each.started and each.name in _STARTED]
    awaited = [Path(place) for unit in units for place in unit.mounts]
    told = set(unawaited(facts))
    for entry in facts.fstab:
        late = "nofail" in entry.options and not entry.options & {"noauto", "x-systemd.automount"}
        there = [space for space in facts.spaces if space.place == entry.place]
        found = any(path.is_relative_to(entry.place) for path in awaited)
        if units and late and there and not found and entry.place not in told:
            yield (
                f"{units[0].name} may start before {entry.place} is mounted (nofail), on which "
                f"{there[0].path} lies",
                f"Have it wait: RequiresMountsFor={entry.place} below [Unit] (systemctl edit "
                f"{units[0].name}).",
            )


def _not_by_itself(place: str, systemd: Systemd) -> Amiss:
    if unit := systemd.idle.get(place):
        return (
            f"nothing starts {unit} at boot, which mounts {place}",
            f"Have it started: systemctl enable {unit} (it needs WantedBy=local-fs.target).",
        )
    return (
        f"{place} was mounted by hand: nothing that systemd knows of does it at the next start",
        "Write a line for it into /etc/fstab; where something else mounts it at each start: "
        "--without box.mounts.",
    )


def _by_itself(space: Space, systemd: Systemd) -> bool:
    return space.place == "/" or space.place in systemd.mounts
