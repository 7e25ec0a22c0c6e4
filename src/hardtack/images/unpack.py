"""An image's layers laid out as containers start from them, before a pod waits for that.

What containerd itself does when the first container of an image is made: for an image of some
hundred MB it takes a small box tens of seconds, and where the pod before has to go first
(`Recreate`, a reboot after an upgrade) nobody answers meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from hardtack.images.containerd import Containerd
from hardtack.images.manifest import Descriptor, Manifest

_GC = "containerd.io/gc.ref.snapshot"


def unpack(manifest: Manifest, containerd: Containerd, lease: str) -> None:
    """Lay out what isn't yet. Nothing is done where containerd doesn't say whereby the kubelet's
    pods are laid out. Raises ContainerdError."""
    snapshotter = containerd.snapshotter()
    if not snapshotter or any(layer.foreign for layer in manifest.layers):
        return
    config = json.loads(b"".join(containerd.read(manifest.config.digest)))
    parent = ""
    for layer, name in _chain(manifest, config["rootfs"]["diff_ids"]):
        if not containerd.has_snapshot(snapshotter, name):
            containerd.apply(snapshotter, layer, name, parent, lease)
        parent = name
    if parent:
        containerd.label(manifest.config.digest, {f"{_GC}.{snapshotter}": parent})


def _chain(manifest: Manifest, diffs: list[str]) -> Iterator[tuple[Descriptor, str]]:
    """Each layer, and what containerd calls it on top of those below."""
    name = ""
    for layer, diff in zip(manifest.layers, diffs, strict=True):
        below = f"{name} {diff}".encode()
        name = f"sha256:{hashlib.sha256(below).hexdigest()}" if name else diff
        yield layer, name
