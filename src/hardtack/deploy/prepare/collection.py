"""The kubelet is kept from removing images that can't be pulled again."""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.facts.k3s import CONFIG
from hardtack.deploy.prepare.step import Change, Step, Target, file, gone

FILE = CONFIG / "config.yaml.d/zz-hardtack-collection.yaml"
_NEVER = ("0s", "0", "")


def plan(target: Target) -> Iterable[Change]:
    k3s = target.facts().k3s
    if k3s is None:
        return
    aged = k3s.kubelet.get("image-maximum-gc-age", "0s") not in _NEVER
    if k3s.kubelet.get("image-gc-high-threshold") == "100" and not aged:
        return
    lines = ["image-gc-high-threshold=100"]  # the kubelet's own way to say never
    if aged or _said_before(target):
        lines.append("image-maximum-gc-age=0s")
    arguments = "".join(f"  - {line}\n" for line in lines)
    yield from file(target, FILE, f"kubelet-arg+:\n{arguments}")


def _said_before(target: Target) -> bool:
    """An older kubelet doesn't know image-maximum-gc-age: it is only said where it was needed."""
    path = target.path(FILE)
    return path.is_file() and "image-maximum-gc-age" in path.read_text(errors="replace")


def undo(target: Target) -> Iterable[Change]:
    yield from gone(target, [FILE])


STEP = Step("collection", "images that can't be pulled again are kept", plan, undo)
