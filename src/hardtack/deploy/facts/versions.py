"""Which k3s and which containerd are here."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from hardtack.core.errors import BoxError, ContainerdError

_PATIENCE = 10.0
_REMEDY = "See whether its disk is well (dmesg), and install k3s again."


@dataclass(frozen=True)
class Versions:
    """Empty where there is none; `containerd_error`, `k3s_error`: why the one that is there can't
    be used; `unseen`: the package without which containerd wasn't asked."""

    k3s: str = ""
    containerd: str = ""
    containerd_error: ContainerdError | None = None
    unseen: str = ""
    k3s_error: BoxError | None = None


def read(socket: Path | None) -> Versions:
    """`socket`: containerd's, None where none was found."""
    try:
        k3s, failed = k3s_version() or "", None
    except BoxError as error:
        k3s, failed = "", error
    return replace(_of_containerd(socket), k3s=k3s, k3s_error=failed)


def _of_containerd(socket: Path | None) -> Versions:
    if socket is None:
        return Versions()
    from hardtack.images.containerd import Containerd, there

    try:
        if not there(socket):
            return Versions()
        client = Containerd(socket, timeout=5)
        try:
            return Versions(containerd=client.version())
        finally:
            client.close()
    except ModuleNotFoundError as error:
        return Versions(unseen=error.name or "a package")
    except ContainerdError as error:
        return Versions(containerd_error=error)


def k3s_version() -> str | None:
    """The version of the k3s on the PATH, None where there is none, or it tells another thing.
    Raises BoxError where it can't be run."""
    k3s = shutil.which("k3s")
    if k3s is None:
        return None
    try:
        done = subprocess.run(
            [k3s, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False, timeout=_PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        said = f"{k3s} --version says nothing within {_PATIENCE:g} s."
        raise BoxError(said, remedy=_REMEDY) from None
    except OSError as error:
        raise BoxError(f"{k3s} can't be run: {error.strerror}.", remedy=_REMEDY) from None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        said = f"{k3s} --version ended with {done.returncode}: {last[0][:300]}."
        raise BoxError(said, remedy=_REMEDY)
    words = done.stdout.split()
    return words[2] if len(words) > 2 and words[1] == "version" else None
