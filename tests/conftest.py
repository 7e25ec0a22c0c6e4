"""What the tests need from the system, said once: `@pytest.mark.needs("fuse", "root")`."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import systemd
from tests.support.cgroups import cgroup2


def _has(*programs: str) -> bool:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return all(shutil.which(program, path=path) for program in programs)


def _root() -> bool:
    return os.geteuid() == 0


PARTS: dict[str, tuple[str, Callable[[], bool]]] = {
    "root": ("root rights", _root),
    "fuse": ("/dev/fuse", lambda: os.access("/dev/fuse", os.R_OK | os.W_OK)),
    "fusermount3": ("fusermount3 (Debian: fuse3)", lambda: _has("fusermount3")),
    "netns": (
        "ip and nft as root (Debian: iproute2, nftables)",
        lambda: _root() and _has("ip", "nft"),
    ),
    "registry": (
        "docker-registry (Debian: docker-registry)",
        lambda: _has("docker-registry"),
    ),
    "containerd": (
        "containerd and runc as root (Debian: containerd)",
        lambda: _root() and _has("containerd", "runc"),
    ),
    "iptables": (
        "iptables of both flavours as root (Debian: iptables)",
        lambda: _root() and _has("iptables-legacy", "iptables-nft"),
    ),
    "cgroup2": (
        "cgroup v2 with a controller to pass on, as root",
        lambda: _root() and cgroup2() is not None,
    ),
    "loop": (
        "loop devices and ext4 as root (Debian: e2fsprogs, mount)",
        lambda: _root() and Path("/dev/loop-control").exists() and _has("mkfs.ext4", "fsck.ext4"),
    ),
    "shellcheck": ("shellcheck (Debian: shellcheck)", lambda: _has("shellcheck")),
    "systemd": ("systemd-analyze (Debian: systemd)", lambda: _has("systemd-analyze")),
    "systemd as PID 1": (
        "systemd, cgroup v2 and namespaces, as root (Debian: systemd)",
        lambda: _root() and systemd.PROGRAM.exists() and systemd.hierarchy() is not None,
    ),
    "image": ("mmdebstrap and buildah (Debian: the same)", lambda: _has("mmdebstrap", "buildah")),
    "cni": (
        "CNI's plugins (Debian: containernetworking-plugins)",
        lambda: Path("/usr/lib/cni/bridge").exists(),
    ),
    "skopeo": ("skopeo (Debian: skopeo)", lambda: _has("skopeo")),
    "chromium": ("chromium (Debian: chromium)", lambda: _has("chromium")),
    "promtool": ("promtool (Debian: prometheus)", lambda: _has("promtool")),
    "npm": ("npm (for Helm's binaries and Azurite)", lambda: _has("npm")),
}


def pytest_configure() -> None:
    """What tests start takes Ctrl-C and a hangup, also where nohup or a shell's & ignores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for part in marker.args:
            description, present = PARTS[part]
            if present():
                continue
            if os.environ.get("CI") == "true":
                pytest.fail(f"needs {description}, which CI must have", pytrace=False)
            pytest.skip(f"needs {description}")
