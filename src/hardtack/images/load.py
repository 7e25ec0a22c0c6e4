"""Loading a bundle into a running containerd, and mending what is damaged there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardtack.core.errors import BundleError
from hardtack.core.progress import Progress, Quiet
from hardtack.images.bundle import Contents, Named, open_tar, read_blob, skip_to, verify
from hardtack.images.containerd import PINNED, Containerd, Record
from hardtack.images.manifest import Descriptor, Manifest, parse
from hardtack.images.unpack import unpack

_CHUNK = 1 << 20
_GC = "containerd.io/gc.ref.content"


def load(path: Path, containerd: Containerd, progress: Progress | None = None) -> tuple[str, ...]:
    """Load the bundle at `path` under all its names, pinned against the kubelet's image garbage
    collection, and unpack it; the names. What is there and whole is not written again; a blob
    whose file is gone or short is. Raises BundleError, ContainerdError."""
    show = progress or Quiet()
    table = verify(path)
    containerd.version()
    manifests = {n.digest: _manifest(path, table, n) for n in table.names}
    needed: dict[str, tuple[Descriptor, dict[str, str]]] = {}
    for manifest in manifests.values():
        needed |= {b.digest: (b, {}) for b in manifest.blobs if not b.foreign}
    needed |= {d: (m.descriptor, gc_labels(m)) for d, m in manifests.items()}
    known = containerd.images()
    with containerd.lease() as lease:
        damaged = {d: blob for d, (blob, _) in needed.items() if containerd.complete(d, blob.size)}
        show.task(path.name, sum(b.size for b in damaged.values()))
        # Without its manifest, which may be among the damaged, a blob counts as garbage.
        for digest in needed.keys() - damaged.keys():
            containerd.hold(digest, lease)
        for digest in damaged:
            containerd.drop(digest)
        for digest, (blob, labels) in needed.items():
            if digest in damaged:
                containerd.write(digest, blob.size, _read(path, table, blob, show), labels, lease)
            elif labels:
                containerd.label(digest, labels)
        for named in table.names:
            old = known.get(named.name)
            labels = {**(old.labels if old else {}), PINNED: "pinned"}
            record = Record(named.name, named.media_type, named.digest, named.size, labels)
            containerd.put_image(record, exists=old is not None)
        for named in {n.digest: n for n in table.names}.values():
            unpack(named.name, manifests[named.digest], containerd, lease)
    show.done(path.name)
    return tuple(n.name for n in table.names)


def gc_labels(manifest: Manifest) -> dict[str, str]:
    """Labels by which containerd's garbage collection knows what a manifest needs."""
    layers = {
        f"{_GC}.l.{n}": layer.digest for n, layer in enumerate(manifest.layers) if not layer.foreign
    }
    return {f"{_GC}.config": manifest.config.digest, **layers}


def _manifest(path: Path, table: Contents, named: Named) -> Manifest:
    found = parse(read_blob(path, table, named.digest), named.media_type, named.name)
    if not isinstance(found, Manifest):
        raise BundleError(
            f"{path}: {named.name} is an index, not an image.",
            remedy="Pull it with `hardtack images pull`.",
        )
    return found


def _read(path: Path, table: Contents, blob: Descriptor, progress: Progress) -> Iterator[bytes]:
    member = table.blobs[blob.digest]
    with open_tar(path) as file:
        skip_to(file, member.offset)
        left = member.size
        while left and (data := file.read(min(left, _CHUNK))):
            left -= len(data)
            progress.advance(path.name, len(data))
            yield data
