"""An image's layers laid out as containers start from them, before a pod waits for that.

What containerd itself does when the first container of an image is made: for an image of some
hundred MB it takes a small box tens of seconds, and where the pod before has to go first
(`Recreate`, a reboot after an upgrade) nobody answers meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator

from hardtack.core.errors import ContainerdError
from hardtack.images.containerd import Containerd
from hardtack.images.manifest import Descriptor, Manifest

log = logging.getLogger(__name__)

_GC = "containerd.io/gc.ref.snapshot"
_CONFIGS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
)


def unpack(name: str, manifest: Manifest, containerd: Containerd, lease: str) -> None:
    """Lay out what isn't yet of the image `name`. Nothing is done for an artefact, from which no
    container starts, nor where containerd doesn't say whereby the kubelet's pods are laid out. What
    fails is told, and left to the first pod: the image is there all the same."""
    try:
        snapshotter = containerd.snapshotter()
        if not snapshotter:
            return
        parent = ""
        for layer, laid in _chain(manifest, _diffs(manifest, containerd)):
            if not containerd.has_snapshot(snapshotter, laid):
                containerd.apply(snapshotter, layer, laid, parent, lease)
            parent = laid
        if parent:
            containerd.label(manifest.config.digest, {f"{_GC}.{snapshotter}": parent})
    except ContainerdError as error:
        log.warning("%s can't be unpacked ahead of its first pod: %s", name, error.message)


def _diffs(manifest: Manifest, containerd: Containerd) -> list[str]:
    """The digest of each layer, unpacked, as its configuration has them; none where it isn't an
    image of layers that can be laid out."""
    if manifest.config.media_type not in _CONFIGS:
        return []
    if any(b.foreign or not b.media_type.startswith(_LAYERS) for b in manifest.layers):
        return []
    try:
        diffs = json.loads(b"".join(containerd.read(manifest.config.digest)))["rootfs"]["diff_ids"]
    except (ValueError, KeyError, TypeError):
        return []
    fits = isinstance(diffs, list) and all(isinstance(diff, str) for diff in diffs)
    return diffs if fits and len(diffs) == len(manifest.layers) else []


def _chain(manifest: Manifest, diffs: list[str]) -> Iterator[tuple[Descriptor, str]]:
    """Each layer that there is a digest for, and what containerd calls it on top of those below."""
    name = ""
    for layer, diff in zip(manifest.layers, diffs, strict=False):
        below = f"{name} {diff}".encode()
        name = f"sha256:{hashlib.sha256(below).hexdigest()}" if name else diff
        yield layer, name
