"""What the kernel lets a box do: FUSE, passthrough, cgroups, propagation, iptables."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hardtack.deploy.facts.links import resolved
from hardtack.mount import mountinfo

PASSTHROUGH = (6, 9)
OLDEST = (5, 10)


@dataclass(frozen=True)
class Kernel:
    """`fuse`: the device is there and may be opened; `passthrough`: the kernel's configuration has
    it (None: it can't be told); `shared`: / is a shared mount; `cgroups`: 1, 2, or 0 for none,
    `controllers`: those that a child of the root may have; `iptables`: what the `iptables` on the
    box writes (legacy, nf_tables, or empty where there is none), `legacy`: legacy tables in use."""

    release: str
    fuse: bool
    passthrough: bool | None
    shared: bool
    cgroups: int
    controllers: frozenset[str]
    iptables: str
    legacy: tuple[str, ...]

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor number of the release."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def read(root: Path) -> Kernel:
    """The kernel of this machine, with the files of it below `root`."""
    device = root / "dev/fuse"
    release = os.uname().release
    version, controllers = _cgroups(root)
    return Kernel(
        release,
        os.access(device, os.R_OK | os.W_OK),
        _configured(root, release, "CONFIG_FUSE_PASSTHROUGH"),
        shared_root(root),
        version,
        controllers,
        _iptables(root),
        tuple(_words(root / "proc/net/ip_tables_names")),
    )


def shared_root(root: Path) -> bool:
    """Whether / is a shared mount: what is mounted below it in one namespace shows in others."""
    mounts = mountinfo.parse(_text(root / "proc/self/mountinfo"))
    return any([each.shared for each in mounts if each.mountpoint == "/"][-1:])


def _configured(root: Path, release: str, name: str) -> bool | None:
    """What the kernel's configuration says of `name`; None where it isn't to be had."""
    import gzip

    packed = root / "proc/config.gz"
    try:
        text = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else ""
    except OSError:
        text = ""
    text = text or _text(root / f"boot/config-{release}")
    return f"\n{name}=y\n" in text or f"\n{name}=m\n" in text if text else None


def _cgroups(root: Path) -> tuple[int, frozenset[str]]:
    top = root / "sys/fs/cgroup"
    if (top / "cgroup.controllers").is_file():
        return 2, frozenset(_words(top / "cgroup.subtree_control"))
    try:
        there = {path.name for path in top.iterdir() if path.is_dir()} - {"unified", "systemd"}
    except OSError:
        there = set()
    return (1, frozenset(there)) if there else (0, frozenset())


def _iptables(root: Path) -> str:
    """The flavour behind the name `iptables`, told by what the name leads to in the end."""
    for directory in ("usr/local/sbin", "usr/sbin", "sbin", "usr/local/bin", "usr/bin"):
        path = resolved(root, f"{directory}/iptables")
        if path is not None and path.is_file():
            return "legacy" if "legacy" in path.name else "nf_tables"
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _words(path: Path) -> list[str]:
    return _text(path).split()
