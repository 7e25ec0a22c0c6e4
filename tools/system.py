"""What tests and demo need from a Debian system, installed when we are root there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from installing import say

TEST_PARTS = {
    "fusermount3": "fuse3",
    "docker-registry": "docker-registry",
    "containerd": "containerd",
    "runc": "runc",
    "skopeo": "skopeo",
    "nft": "nftables",
    "ip": "iproute2",
    "busybox": "busybox-static",
    "iptables-legacy": "iptables",
    "curl": "curl",
    "mkfs.ext4": "e2fsprogs",
    "shellcheck": "shellcheck",
    "systemd-analyze": "systemd",
    "chromium": "chromium",
    "promtool": "prometheus",
    "mmdebstrap": "mmdebstrap",
    "buildah": "buildah",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""Program that must be on the PATH → Debian package that has it."""

BENCH_PARTS = {"s3fs": "s3fs"}

_APT = threading.Lock()
"""One at a time: apt's lists and dpkg have locks that wait for nobody."""


def install(parts: dict[str, str]) -> None:
    """Install the packages of missing programs; without root or apt, say so and go on."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = sorted(
        {pkg for program, pkg in parts.items() if not shutil.which(program, path=path)}
    )
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        say(f"not installed here: {' '.join(missing)}; tests that need them are skipped.")
        return
    apt(missing)


def apt(packages: list[str]) -> None:
    """`apt-get install`, with services kept from starting."""
    say(f"apt-get install {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with _APT, NoServices():
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        ):
            done = subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)
            if done.returncode:
                sys.exit(
                    f"run: `{' '.join(command)}` failed with {done.returncode}.\n"
                    "  It takes Debian's package servers and the lock of apt: is there a network, "
                    "does another apt run? Then run it again."
                )


class NoServices:
    """While inside, Debian packages don't start their daemons (policy-rc.d says 101)."""

    path = Path("/usr/sbin/policy-rc.d")

    def __enter__(self) -> None:
        self.ours = not self.path.exists()
        if self.ours:
            self.path.write_text("#!/bin/sh\nexit 101\n")
            self.path.chmod(0o755)

    def __exit__(self, *_: object) -> None:
        if self.ours:
            self.path.unlink(missing_ok=True)
