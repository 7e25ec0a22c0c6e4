"""What the tests need from the system, said once: `@pytest.mark.needs("fuse", "root")`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

PARTS: dict[str, tuple[str, Callable[[], bool]]] = {
    "root": ("root rights", lambda: os.geteuid() == 0),
    "fuse": ("/dev/fuse", lambda: os.access("/dev/fuse", os.R_OK | os.W_OK)),
    "fusermount3": ("fusermount3 (Debian: fuse3)", lambda: bool(shutil.which("fusermount3"))),
    "netns": ("ip and nft as root (Debian: iproute2, nftables)", lambda: os.geteuid() == 0 and bool(shutil.which("ip")) and bool(shutil.which("nft"))),
    "registry": ("docker-registry (Debian: docker-registry)", lambda: bool(shutil.which("docker-registry"))),
    "containerd": ("containerd and runc as root (Debian: containerd)", lambda: os.geteuid() == 0 and bool(shutil.which("containerd")) and bool(shutil.which("runc"))),
    "skopeo": ("skopeo (Debian: skopeo)", lambda: bool(shutil.which("skopeo"))),
    "npm": ("npm (for Helm's binaries)", lambda: bool(shutil.which("npm"))),
    "chromium": ("chromium (Debian: chromium)", lambda: bool(shutil.which("chromium"))),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for part in marker.args:
            description, present = PARTS[part]
            if present():
                continue
            if os.environ.get("CI") == "true":
                pytest.fail(f"needs {description}, which CI must have", pytrace=False)
            pytest.skip(f"needs {description}")
