"""The bundles that came with the system image, put where k3s loads them."""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.prepare.step import Change, Step, Target
from hardtack.images.install import install, pending


def plan(target: Target) -> Iterable[Change]:
    if not target.images.is_dir():
        return
    new, old = pending(target.images, target.images_to, platform=target.platform)
    if new or old:
        what = [f"add {name}" for name in new] + [f"remove {name}" for name in old]
        yield Change(f"{target.images_to}: {', '.join(what)}", lambda: _install(target))


def _install(target: Target) -> None:
    install(target.images, target.images_to, platform=target.platform)


STEP = Step(
    "images",
    "bundles installed where k3s loads them",
    plan,
    "stays: `images prune` removes what no lock names",
)
