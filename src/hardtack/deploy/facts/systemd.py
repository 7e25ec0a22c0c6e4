"""What systemd's unit files say: what is started at boot, and what waits for a network."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_duration
from hardtack.deploy.facts.links import resolved
from hardtack.deploy.facts.model import Systemd, Unit, Waiter

ONLINE = "network-online.target"
PREPARING = "hardtack-prepare.service"
LONG_WAIT = 30.0
"""Seconds for which a start may wait for a network."""
PLACES = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system",
          "lib/systemd/system")  # fmt: skip
_OURS = ("k3s.service", "k3s-agent.service", "containerd.service", "hardtack*.service")
_PROGRAMS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
"""Where systemd looks for a program that is named without its directory."""
_PREFIXES = "@-:+!|"


def read(root: Path) -> Systemd | None:
    """What the unit files below `root` say; None where there is no systemd."""
    if not (root / "etc/systemd/system").is_dir():
        return None
    units = tuple(_unit(root, name) for name in names(root))
    waiters = {p.name for d in PLACES for p in (root / d / f"{ONLINE}.wants").glob("*.service")}
    found = tuple(_waiter(root, name) for name in sorted(waiters) if not _masked(root, name))
    masked = frozenset(name for name in _there(root) if _masked(root, name))
    runs = (root / "run/systemd/system").is_dir()
    return Systemd(units, found, masked, runs, _in_fstab(root))


def names(root: Path) -> list[str]:
    """The units below `root` that a box of ours starts, without those that are masked."""
    return [name for name in _there(root) if not _masked(root, name)]


def _there(root: Path) -> list[str]:
    return sorted({p.name for d in PLACES for pattern in _OURS for p in (root / d).glob(pattern)})


def _unit(root: Path, name: str) -> Unit:
    said = list(settings(root, name))
    after = any(key == "After" and ONLINE in value.split() for key, value in said)
    bound = ("Requires", "BindsTo", "Requisite")
    requires = any(k in bound and ONLINE in v.split() for k, v in said)
    commands = [value for key, value in said if key == "ExecStart" and value]
    lacks = _lacking(root, commands[-1]) if commands else ""
    return Unit(name, after, requires, _started(root, name), lacks)


def _started(root: Path, name: str) -> bool:
    """Whether something that is started at boot wants the unit, or an instance of it."""
    pattern = name.replace("@.", "@*.")
    return any(
        any((root / directory).glob(f"*.{how}/{pattern}"))
        for directory in PLACES for how in ("wants", "requires")
    )  # fmt: skip


def _in_fstab(root: Path) -> bool:
    try:
        lines = (root / "etc/fstab").read_text(errors="replace").splitlines()
    except OSError:
        return False
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return any(len(f) > 2 and f[2] in ("hardtack", "fuse.hardtack") for f in fields)


def _lacking(root: Path, command: str) -> str:
    """The program of an ExecStart; empty where it is there."""
    try:
        program = (shlex.split(command) or [""])[0].lstrip(_PREFIXES)
    except ValueError:
        return ""  # systemd itself refuses it
    if "%" in program:
        return ""
    places = [program] if program.startswith("/") else [f"{d}/{program}" for d in _PROGRAMS]
    found = (resolved(root, place) for place in places)
    return "" if any(path is not None and path.is_file() for path in found) else program


def _waiter(root: Path, name: str) -> Waiter:
    """TimeoutStartSec as it stands last; a word such as `infinity` is no bound."""
    seconds: float | None = None
    for key, value in settings(root, name):
        if key == "TimeoutStartSec":
            try:
                seconds = parse_duration(value.replace("sec", "s").replace("min", "m")) or None
            except ConfigError:
                seconds = None
    return Waiter(name, seconds)


def settings(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """(key, value) of a unit's own file, the foremost place first, then of its drop-ins."""
    files = [root / d / name for d in PLACES if (root / d / name).is_file()][:1]
    files += sorted((f for d in PLACES for f in (root / d / f"{name}.d").glob("*.conf")),
                    key=lambda f: f.name)  # fmt: skip
    for file in files:
        try:
            text = file.read_text(errors="replace").replace("\\\n", " ")
        except OSError:
            continue
        for line in text.splitlines():
            key, equals, value = line.partition("=")
            if equals and not key.startswith(("#", ";")):
                yield key.strip(), value.strip()


def _masked(root: Path, name: str) -> bool:
    link = root / PLACES[0] / name
    return link.is_symlink() and str(link.readlink()) == "/dev/null"
