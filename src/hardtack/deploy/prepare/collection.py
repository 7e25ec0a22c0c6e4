"""The kubelet is kept from removing images that can't be pulled again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.deploy.facts.k3s import CONFIG
from hardtack.deploy.facts.kubelet import DROP_INS, MAXIMUM_AGE, NEVER
from hardtack.deploy.prepare.step import Change, Step, Target, file, gone

FILE = CONFIG / "config.yaml.d/zz-hardtack-collection.yaml"
DROP_IN = "zz-hardtack-collection.conf"
_FLAG = "kubelet-arg+:\n  - image-gc-high-threshold=100\n"  # the kubelet's own way to say never
_FIELD = (
    f"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{MAXIMUM_AGE}: 0s\n"
)


def plan(target: Target) -> Iterable[Change]:
    k3s = target.facts().k3s
    if k3s is None:
        return
    # Ours is there: an earlier one may hold a line that keeps the kubelet from starting.
    if k3s.kubelet.get("image-gc-high-threshold") != "100" or target.path(FILE).is_file():
        yield from file(target, FILE, _FLAG)
    # No argument sets it. In a file that was named to the kubelet it is a person's to change.
    if k3s.kubelet.get(MAXIMUM_AGE, "0s") not in NEVER and "config" not in k3s.kubelet:
        yield from file(target, _drop_ins(k3s.kubelet.get("config-dir")) / DROP_IN, _FIELD)


def _drop_ins(named: str | None) -> Path:
    return Path(named.lstrip("/")) if named else DROP_INS


def undo(target: Target) -> Iterable[Change]:
    yield from gone(target, dict.fromkeys([FILE, DROP_INS / DROP_IN, _named(target) / DROP_IN]))


def _named(target: Target) -> Path:
    """The drop-ins' directory; k3s's own where its configuration can't be read: that keeps nothing
    of ours there."""
    try:
        k3s = target.facts().k3s
    except ConfigError:
        return DROP_INS
    return _drop_ins(k3s.kubelet.get("config-dir") if k3s else None)


STEP = Step("collection", "images that can't be pulled again are kept", plan, undo)
