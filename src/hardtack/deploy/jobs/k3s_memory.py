"""The kubelet's memory thresholds on a box with one k3s node, as a drop-in of k3s's configuration.

Without them a box that runs out of memory is killed at random by the kernel; with them the kubelet
evicts pods, the least important first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.files import write_atomically
from hardtack.deploy.facts import k3s
from hardtack.deploy.facts.k3s import CONFIG
from hardtack.deploy.facts.model import K3s

FILE = CONFIG / "config.yaml.d/50-hardtack-memory.yaml"
_STARTED = Path("run/k3s/containerd/containerd.sock")
"""k3s makes it anew at each start: older than the drop-in, k3s hasn't read that."""
_MIB = 1 << 20
_DISKS = "imagefs.available<5%,nodefs.available<5%"
"""k3s's own thresholds for disks, which `eviction-hard` would take away if it didn't name them."""


@dataclass(frozen=True)
class Thresholds:
    """Free memory below which pods are evicted: the smaller of a percentage and an amount (GB).

    `reserved`: bytes kept for what is no pod (k3s itself, the system); 0: none.
    """

    hard_percent: float = 15
    soft_percent: float = 25
    hard_gb: float = 4
    soft_gb: float = 8
    grace: float = 10
    reserved: int = 0

    def __post_init__(self) -> None:
        for name, value in (("hard", self.hard_percent), ("soft", self.soft_percent)):
            if not 0 < value < 100:
                raise ConfigError(
                    f"The percentage of {name} eviction: expected one between 0 and 100, "
                    f"found {value:g}."
                )
        if self.hard_gb <= 0 or self.soft_gb <= 0 or self.grace <= 0:
            raise ConfigError("Amounts and the grace period of eviction must be more than 0.")

    def hard(self, total: int) -> int:
        """MiB for `total` bytes of memory."""
        return _smaller(total, self.hard_percent, self.hard_gb)

    def soft(self, total: int) -> int:
        """MiB for `total` bytes of memory."""
        return _smaller(total, self.soft_percent, self.soft_gb)


class Outcome(StrEnum):
    WRITTEN = "written"
    SAME = "as it was"
    REMOVED = "removed"
    NO_K3S = "there is no k3s here: nothing to do"
    NOT_ALONE = "this k3s has other nodes: memory is the cluster's affair, nothing is written"


@dataclass(frozen=True)
class Result:
    """`restart`: k3s runs and hasn't read the file as it is now."""

    outcome: Outcome
    restart: bool
    text: str = ""


def memory(root: Path) -> int:
    """Bytes of this machine's memory. Raises ConfigError."""
    found = re.search(r"^MemTotal:\s+(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
    if found is None:
        raise ConfigError(f"{root / 'proc/meminfo'} names no MemTotal.")
    return int(found[1]) * 1024


def text(thresholds: Thresholds, total: int) -> str:
    """The drop-in for a box with `total` bytes. Raises ConfigError where they make no sense."""
    hard, soft = thresholds.hard(total), thresholds.soft(total)
    if soft < hard:
        raise ConfigError(
            f"Soft eviction begins at {soft} MiB free and hard at {hard} MiB already.",
            remedy="Soft must come first: more than hard.",
        )
    arguments = [
        f"eviction-hard=memory.available<{hard}Mi,{_DISKS}",
        f"eviction-soft=memory.available<{soft}Mi",
        f"eviction-soft-grace-period=memory.available={thresholds.grace:g}s",
    ]
    if thresholds.reserved:
        if thresholds.reserved + hard * _MIB >= total:
            raise ConfigError(
                f"{thresholds.reserved // _MIB} MiB reserved and {hard} MiB of hard eviction leave "
                f"nothing of {total // _MIB} MiB for pods.",
                remedy="Reserve less.",
            )
        arguments.append(f"system-reserved=memory={thresholds.reserved // _MIB}Mi")
    lines = "".join(f'  - "{argument}"\n' for argument in arguments)
    return f"# Written by `hardtack job k3s-memory`.\nkubelet-arg+:\n{lines}"


def configure(root: Path, thresholds: Thresholds, *, nodes: int | None = None) -> Result:
    """Write the drop-in below `root`, if k3s is there and alone.

    `nodes`: how many the cluster has, where somebody knows. Raises ConfigError.
    """
    found = k3s.read(root)
    if found is None:
        return Result(Outcome.NO_K3S, False)
    if not _alone(root, found) or (nodes is not None and nodes > 1):
        return Result(Outcome.NOT_ALONE, False)
    wanted = text(thresholds, memory(root))
    file = root / FILE
    if file.is_file() and file.read_text() == wanted:
        return Result(Outcome.SAME, _unread(root), wanted)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, wanted.encode(), mode=0o600)
    except OSError as error:
        raise ConfigError(f"{file} can't be written: {error.strerror}.") from None
    return Result(Outcome.WRITTEN, (root / _STARTED).exists(), wanted)


def remove(root: Path) -> Result:
    """Take the drop-in away. Raises ConfigError."""
    file = root / FILE
    if not file.exists():
        return Result(Outcome.SAME, False)
    try:
        file.unlink()
    except OSError as error:
        raise ConfigError(f"{file} can't be removed: {error.strerror}.") from None
    return Result(Outcome.REMOVED, (root / _STARTED).exists())


def _smaller(total: int, percent: float, gigabytes: float) -> int:
    """MiB, rounded up."""
    least = min(total * percent / 100, gigabytes * 1e9)
    return -int(-least // _MIB)


def _alone(root: Path, found: K3s) -> bool:
    """Whether nothing in its files joins this node to others. (A server doesn't know from its own
    files who joined it: `nodes` does.)"""
    agent = root / "etc/systemd/system/k3s-agent.service"
    return "server" not in found.settings and not agent.exists()


def _unread(root: Path) -> bool:
    started = root / _STARTED
    return started.exists() and started.stat().st_mtime < (root / FILE).stat().st_mtime
