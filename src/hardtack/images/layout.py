"""Where everything lies in a bundle: computed from the manifests alone, before a byte is fetched.

A bundle is an OCI image layout in a tar, with a `manifest.json` for `docker load`. Same images,
same bytes: members in a fixed order, no time, no owner. The format: docs/formats/bundle.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from hardtack.images.manifest import OCI_INDEX, Manifest
from hardtack.images.platforms import Platform

FORMAT = 1
BLOCK = 512
_RECORD = 20 * BLOCK  # a tar's size is a multiple of it
IMAGE_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"


class BundleImage(NamedTuple):
    """One image of a bundle. `names`: what containerd will list it under, `tags`: what
    `docker load` will call it."""

    names: tuple[str, ...]
    tags: tuple[str, ...]
    manifest: Manifest


class Member(NamedTuple):
    """A file in the tar: its bytes lie at [offset, offset + size), its header BLOCK before.
    `content` for what is known beforehand, None for a blob that is to be fetched."""

    name: str
    offset: int
    size: int
    content: bytes | None = None

    @property
    def header(self) -> bytes:
        """As GNU tar writes it: a regular file of mode 0644, owner 0, time 0."""
        # tarfile would be imported for this alone, with three libraries for compression.
        size = b"%011o\0" % self.size
        if len(size) > 12:  # 8 GiB and more
            size = b"\x80" + self.size.to_bytes(11)
        start = self.name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size
        start += b"00000000000\0"
        rest = b"0".ljust(101, b"\0") + b"ustar  \0"
        total = sum(start) + sum(rest) + 8 * ord(" ")  # the sum's own field counts as blanks
        return (start + b"%06o\0 " % total + rest).ljust(BLOCK, b"\0")


class Layout(NamedTuple):
    """The tar of one bundle: `size` bytes in all, members in order."""

    members: tuple[Member, ...]
    size: int

    def blobs(self) -> dict[str, Member]:
        """Members to fetch, by digest."""
        return {f"sha256:{m.name.rsplit('/', 1)[1]}": m for m in self.members if m.content is None}


def plan(images: Sequence[BundleImage], platform: Platform) -> Layout:
    """The layout of a bundle of `images`; a blob that several share is there once."""
    small: dict[str, bytes] = {i.manifest.descriptor.digest: i.manifest.raw for i in images}
    sizes = {b.digest: b.size for i in images for b in i.manifest.blobs if not b.foreign}
    contents: list[tuple[str, int, bytes | None]] = [
        (name, len(data), data)
        for name, data in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", _json(_index(images, platform))),
            ("manifest.json", _json(_docker(images))),
        )
    ]
    for digest in sorted(small.keys() | sizes.keys()):
        data = small.get(digest)
        contents.append((blob_name(digest), len(data) if data is not None else sizes[digest], data))
    members, position = [], 0
    for name, size, content in contents:
        members.append(Member(name, position + BLOCK, size, content))
        position += BLOCK + -(-size // BLOCK) * BLOCK
    return Layout(tuple(members), -(-(position + 2 * BLOCK) // _RECORD) * _RECORD)


def blob_name(digest: str) -> str:
    """Where a blob lies in an OCI layout."""
    return "blobs/" + digest.replace(":", "/")


def bundle_name(
    stem: str, platform: Platform, images: Sequence[tuple[tuple[str, ...], str]], suffix: str
) -> str:
    """The file name of a bundle of `images` (names, manifest digest), from the lock alone."""
    said = _json(
        [FORMAT, str(platform), sorted([sorted(names), digest] for names, digest in images)]
    )
    return (
        f"{stem}-{str(platform).replace('/', '-')}-{hashlib.sha256(said).hexdigest()[:16]}{suffix}"
    )


def _index(images: Sequence[BundleImage], platform: Platform) -> dict[str, Any]:
    where = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        where["variant"] = platform.variant
    entries = [
        {
            "mediaType": image.manifest.descriptor.media_type,
            "digest": image.manifest.descriptor.digest,
            "size": image.manifest.descriptor.size,
            "platform": where,
            "annotations": {IMAGE_NAME: name, REF_NAME: name},
        }
        for image in images
        for name in image.names
    ]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": sorted(entries, key=_name_of)}


def _name_of(entry: dict[str, Any]) -> str:
    return str(entry["annotations"][IMAGE_NAME])


def _docker(images: Sequence[BundleImage]) -> list[dict[str, Any]]:
    entries = [
        {
            "Config": blob_name(image.manifest.config.digest),
            "RepoTags": sorted(image.tags),
            "Layers": [blob_name(layer.digest) for layer in image.manifest.layers],
        }
        for image in images
    ]
    return sorted(entries, key=lambda e: (e["RepoTags"], e["Config"]))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
