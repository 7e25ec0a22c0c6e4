"""What systemd's unit files say of starts that wait for a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_duration
from hardtack.deploy.facts.model import Systemd, Unit, Waiter

ONLINE = "network-online.target"
PREPARE = "hardtack-prepare.service"
PLACES = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system",
          "lib/systemd/system")  # fmt: skip
_OURS = ("k3s.service", "k3s-agent.service", "containerd.service", "hardtack*.service")


def read(root: Path) -> Systemd | None:
    """What the unit files below `root` say; None where there is no systemd."""
    if not (root / "etc/systemd/system").is_dir():
        return None
    there = names(root)
    units = tuple(_unit(root, name) for name in there)
    waiters = {p.name for d in PLACES for p in (root / d / f"{ONLINE}.wants").glob("*.service")}
    prepared = any((root / PLACES[0]).glob(f"*.wants/{PREPARE}"))
    found = tuple(_waiter(root, name) for name in sorted(waiters) if not _masked(root, name))
    enabled = any(any((root / d).glob(f"*.wants/{name}")) for d in PLACES for name in there
                  if name.startswith("k3s"))  # fmt: skip
    return Systemd(units, found, prepared, enabled)


def names(root: Path) -> list[str]:
    """The units below `root` that a box of ours starts, without those that are masked."""
    found = {p.name for d in PLACES for pattern in _OURS for p in (root / d).glob(pattern)}
    return [name for name in sorted(found) if not _masked(root, name)]


def _unit(root: Path, name: str) -> Unit:
    said = list(settings(root, name))
    after = any(key == "After" and ONLINE in value.split() for key, value in said)
    bound = ("Requires", "BindsTo", "Requisite")
    return Unit(name, after, any(k in bound and ONLINE in v.split() for k, v in said))


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
