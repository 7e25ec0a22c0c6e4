"""Routes, addresses and names of this machine, from the kernel's files."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from hardtack.deploy.facts import names, networkd
from hardtack.deploy.facts.model import Network, Route

Addresses = Mapping[str, frozenset[str]]
_SIOCGIFCONF = 0x8912
_ENTRY = struct.calcsize("16sHH4s16x")
_ROOM = 1024 * _ENTRY
_UP = 0x1
_OF_PODS = ("cni", "flannel", "kube-", "cali", "cilium", "veth")


def read(root: Path, addresses: Callable[[], Addresses] | None = None) -> Network:
    """The network below the root directory `root`; `addresses` tells those of this namespace."""
    there = (addresses or of_kernel)()
    staying = {a for name, found in there.items() if _stays(root, name) for a in found}
    return Network(
        tuple(_defaults(root)), there, frozenset(staying), _hosts(root / "etc/hosts"),
        names.of_host(root), networkd.claiming(root),
    )  # fmt: skip


def of_kernel() -> dict[str, frozenset[str]]:
    """The IPv4 addresses of each interface that is up, as the kernel lists them."""
    buffer = array.array("B", bytes(_ROOM))
    address, size = buffer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked, _SIOCGIFCONF, struct.pack("iP", size, address))
    length = struct.unpack("i", answer[:4])[0]
    found: dict[str, set[str]] = {}
    for at in range(0, length, _ENTRY):
        name, _, _, packed = struct.unpack_from("16sHH4s", buffer, at)
        label = name.rstrip(b"\0").decode().partition(":")[0]
        found.setdefault(label, set()).add(socket.inet_ntoa(packed))
    return {name: frozenset(addresses) for name, addresses in found.items()}


def _defaults(root: Path) -> list[Route]:
    """The default routes, best first, of /proc/net/route."""
    try:
        lines = (root / "proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return []
    routes = []
    for line in lines:
        fields = line.split()
        interface, destination, flags, metric, mask = (fields[n] for n in (0, 1, 3, 6, 7))
        if int(destination, 16) == int(mask, 16) == 0 and int(flags, 16) & _UP:
            routes.append(Route(interface, int(metric), _stays(root, interface)))
    return sorted(routes, key=lambda route: route.metric)


def _stays(root: Path, interface: str) -> bool:
    """Whether the interface is there with every cable out, at the start of k3s: none of metal, none
    on top of one, no end of a pair whose other end is elsewhere, none that pods' networks make."""
    directory = root / "sys/class/net" / interface
    if interface == "lo" or not directory.is_dir():
        return interface == "lo"
    if interface.startswith(_OF_PODS) or _number(directory, "iflink") != _number(
        directory, "ifindex"
    ):
        return False
    below = (directory / "device", *directory.glob("lower_*"))
    return not any(path.is_symlink() or path.exists() for path in below)


def _number(directory: Path, name: str) -> str:
    """An interface's own number (`ifindex`), or that of the one it hangs on (`iflink`)."""
    try:
        return (directory / name).read_text().strip()
    except OSError:
        return ""


def _hosts(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(name for line in lines for name in line.partition("#")[0].split()[1:])
