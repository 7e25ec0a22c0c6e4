"""The manifests of the pods that the kubelet starts by itself, whatever the API server holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hardtack.deploy.facts.kubelet import PODS
from hardtack.deploy.facts.links import resolved

_DIRECTORY = "/var/lib/rancher/k3s/agent/pod-manifests"


def files(root: Path, kubelet: Mapping[str, str]) -> tuple[Path, ...]:
    """Those that a kubelet goes by that is told this: one, or all in a directory that aren't
    hidden, whatever they are called. Raises OSError where it may not look."""
    named = kubelet.get(PODS, _DIRECTORY)
    place = resolved(root, named) if named else None
    if place is None:
        return ()
    if not place.is_dir():
        return (place,)
    there = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    led = (resolved(root, Path("/", path.relative_to(root))) for path in there)
    return tuple(path for path in led if path is not None and path.is_file())
