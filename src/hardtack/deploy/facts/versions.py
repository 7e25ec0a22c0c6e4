"""Which k3s and which containerd are here."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hardtack.core.errors import ContainerdError


@dataclass(frozen=True)
class Versions:
    """Empty where there is none; `containerd_error`: why the one that is there can't be used;
    `unseen`: the package without which it wasn't asked."""

    k3s: str = ""
    containerd: str = ""
    containerd_error: str = ""
    unseen: str = ""


def read(socket: Path | None) -> Versions:
    """`socket`: containerd's, None where none was found."""
    k3s = k3s_version() or ""
    if socket is None:
        return Versions(k3s)
    from hardtack.images.containerd import Containerd, there

    try:
        if not there(socket):
            return Versions(k3s)
        client = Containerd(socket, timeout=5)
        try:
            return Versions(k3s, client.version())
        finally:
            client.close()
    except ModuleNotFoundError as error:
        return Versions(k3s, unseen=error.name or "a package")
    except ContainerdError as error:
        return Versions(k3s, "", error.message)


def k3s_version() -> str | None:
    """The version of the k3s on the PATH, None where there is none."""
    k3s = shutil.which("k3s")
    if k3s is None:
        return None
    done = subprocess.run(
        [k3s, "--version"], capture_output=True, text=True, check=False, timeout=10
    )
    words = done.stdout.split()
    return words[2] if len(words) > 2 and words[1] == "version" else None
