"""The facts of a box that decide whether it comes up alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

LONG_WAIT = 30.0
"""Seconds for which a start may wait for a network."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Route(NamedTuple):
    """A default route. `stays`: its interface hangs on no cable and no other interface."""

    interface: str
    metric: int
    stays: bool


class Network(NamedTuple):
    """`addresses`: IPv4 addresses by interface, `staying`: of those that hang on no cable;
    `hosts`: the names that /etc/hosts answers; `name`: the host name that no lease changes (empty:
    there is none); `claimed`: the file by which systemd-networkd takes our interface (or empty)."""

    defaults: tuple[Route, ...] = ()
    addresses: Mapping[str, frozenset[str]] = _NOTHING
    staying: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    name: str = ""
    claimed: str = ""


class K3s(NamedTuple):
    """k3s as its files and the command that starts it configure it: `settings` by flag, `kubelet`
    by argument, of its own files too (by field what no argument sets).

    `nameservers`: those in the resolv.conf that the settings name; None where they name none.
    `pause`: the image that holds each pod's namespaces; None where nothing says which.
    `commanded`: the flags that stand in the command: what files say of them counts for nothing.
    `node`: the name of its node where it ran before; else empty.
    `leased`: that resolv.conf, where its servers are those of a lease; else empty.
    `absent`: flag → the file that k3s reads first for it, and that isn't there.
    """

    settings: Mapping[str, str] = _NOTHING
    kubelet: Mapping[str, str] = _NOTHING
    nameservers: tuple[str, ...] | None = None
    pause: str | None = None
    commanded: frozenset[str] = frozenset()
    node: str = ""
    leased: str = ""
    absent: Mapping[str, str] = _NOTHING


class Clock(NamedTuple):
    """Seconds since 1970 UTC: now, and as the box last noted it (None: nobody notes it); `keeper`:
    the file that it is noted in."""

    now: float
    kept: float | None = None
    keeper: str = ""


class Space(NamedTuple):
    """Bytes and inodes of the file system of `path`; its `kind` as the kernel names it, whether it
    takes no writes, the `place` at which the box has it mounted, and whether that is the whole of a
    `disk`'s (of a mount that can't be told: empty, False). `known`: the path without links, as the
    box knows it."""

    path: Path
    free: int
    total: int
    inodes_free: int
    inodes: int
    kind: str = ""
    read_only: bool = False
    place: str = ""
    disk: bool = False
    known: str = ""


class Waiter(NamedTuple):
    """A service that waits for a network, or for its time, for `seconds` at most (None: no
    bound). `masked`: until the next start alone."""

    name: str
    seconds: float | None
    masked: bool = False

    @property
    def long(self) -> bool:
        """Whether a box without a network would be down for a while."""
        return self.seconds is None or self.seconds > LONG_WAIT


class Unit(NamedTuple):
    """A systemd unit. `waits`: the waiters that are ordered before it; `impossible`: services that
    it doesn't start without, and that fail with no network or aren't there. `started`: at boot;
    `lacks`: its program, where that isn't there; `mounts`: the places whose mounts it awaits;
    `unmet`: conditions that don't hold; `fails`: settings on which its start fails."""

    name: str
    waits: tuple[Waiter, ...] = ()
    impossible: tuple[str, ...] = ()
    started: bool = False
    lacks: str = ""
    mounts: frozenset[str] = frozenset()
    unmet: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()


class Systemd(NamedTuple):
    """`units`: those that aren't masked; `masked`: the others, each with its file where that is
    empty; `runs`: systemd started this box; `fstab`: a line of /etc/fstab mounts weights; `mounts`:
    places that a unit mounts at boot; `idle`: place → the unit that would, and that nothing starts;
    `refused`: unit that is to mount something at boot → why systemd doesn't take it; `fleeting`:
    unit → what it is until the next start alone, `masked` or `enabled`."""

    units: tuple[Unit, ...] = ()
    masked: Mapping[str, str] = _NOTHING
    runs: bool = False
    fstab: bool = False
    mounts: frozenset[str] = frozenset()
    idle: Mapping[str, str] = _NOTHING
    refused: Mapping[str, str] = _NOTHING
    fleeting: Mapping[str, str] = _NOTHING


class Entry(NamedTuple):
    """A line of /etc/fstab: what is mounted where, as what kind, and how; `there`: nothing says
    that the disk isn't."""

    source: str
    place: str
    kind: str
    options: frozenset[str] = frozenset()
    there: bool = True


class Volume(NamedTuple):
    """A line of /etc/crypttab that counts at boot. `asked`: why somebody is asked for a passphrase
    then; empty where nobody is."""

    name: str
    options: frozenset[str] = frozenset()
    asked: str = ""


class Helper(NamedTuple):
    """A credential helper of the kubelet: `seconds` until it ended with no network; None: it
    didn't in the time given. `error`: why it can't be started."""

    name: str
    seconds: float | None = None
    error: str = ""


class Upcoming(NamedTuple):
    """What a restart starts. `kernels`: (version, what it lacks) of newer ones that aren't whole;
    `another_k3s`: than the one that runs."""

    kernels: tuple[tuple[str, str], ...] = ()
    another_k3s: bool = False


class Facts(NamedTuple):
    """`k3s` and `systemd` are None where the box has none."""

    network: Network
    clock: Clock
    spaces: tuple[Space, ...] = ()
    k3s: K3s | None = None
    systemd: Systemd | None = None
    helpers: tuple[Helper, ...] = ()
    fstab: tuple[Entry, ...] = ()
    upcoming: Upcoming = Upcoming()
    crypttab: tuple[Volume, ...] = ()
