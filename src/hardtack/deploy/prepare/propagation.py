"""`/` is shared: else no mount made in a pod reaches the host, nor any other pod."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from hardtack.core.errors import BoxError
from hardtack.deploy.facts.kernel import shared_root
from hardtack.deploy.prepare.step import Change, Step, Target

_MS_REC, _MS_SHARED = 1 << 14, 1 << 20


def plan(target: Target) -> Iterable[Change]:
    if not shared_root(target.root):
        yield Change("make / and all below it shared (mount --make-rshared /)", _share)


def _share() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(None, b"/", None, _MS_REC | _MS_SHARED, None) != 0:
        raise BoxError(
            f"/ can't be made shared: {os.strerror(ctypes.get_errno())}.",
            remedy="Run as root; in a container, privileged.",
        )


STEP = Step(
    "propagation",
    "mounts of pods reach the host",
    plan,
    "stays until a restart: pods that run would lose their mounts",
)
