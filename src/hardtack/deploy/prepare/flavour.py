"""Which inference this box can do, written where a deployment reads it: jetson, gpu or cpu."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.deploy.prepare.step import Change, Step, Target, file, gone
from hardtack.endpoint.backends.telling import FLAVORS

SHARED = Path("shared")
PLACES = (SHARED / "INFERENCE_FLAVOR", Path("var/lib/hardtack/INFERENCE_FLAVOR"))
"""The first where containers share a directory /shared, else the second."""


def plan(target: Target) -> Iterable[Change]:
    return file(target, place(target), f"{target.flavor or found(target.root)}\n")


def place(target: Target) -> Path:
    return PLACES[0 if target.path(SHARED).is_dir() else 1]


def found(root: Path) -> str:
    """The flavour that the hardware says."""
    compatible = root / "proc/device-tree/compatible"
    if (root / "etc/nv_tegra_release").exists() or b"nvidia,tegra" in _read(compatible):
        return "jetson"
    if any((root / sign).exists() for sign in ("proc/driver/nvidia/version", "dev/nvidiactl")):
        return "gpu"
    return "cpu"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def checked(text: str | None) -> str | None:
    """`text` as a flavour. Raises ConfigError."""
    if text in (None, "", *FLAVORS):
        return text or None
    raise ConfigError(
        f"{text!r} is not a flavour of inference.", remedy=f"Say one of: {', '.join(FLAVORS)}."
    )


def undo(target: Target) -> Iterable[Change]:
    return gone(target, PLACES)


STEP = Step("flavour", "jetson, gpu or cpu, written for the deployment", plan, undo)
