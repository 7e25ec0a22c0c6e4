"""Images built from bytes: the smallest that a registry, skopeo and containerd take."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import zstandard

from hardtack.images.manifest import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(
    files: Mapping[str, bytes], *, level: int = 1, links: Mapping[str, str] | None = None
) -> bytes:
    """A gzipped layer with `files` (mode 0755) and symbolic `links`; the same bytes each time."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return gzip.compress(plain.getvalue(), level, mtime=0)


def _unpacked(data: bytes) -> bytes:
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return gzip.decompress(data)


@dataclass
class Image:
    """An image for one platform: its blobs and its manifest."""

    manifest: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest(self.manifest)


def image(
    layers: list[bytes],
    platform: str = "linux/amd64",
    *,
    docker: bool = False,
    command: list[str] | None = None,
    layer_types: Mapping[int, str] | None = None,
) -> Image:
    """An OCI (or Docker) image of gzipped `layers`."""
    system, architecture, *variant = platform.split("/")
    diff_ids = [digest(_unpacked(data)) for data in layers]
    config: dict[str, Any] = {
        "os": system,
        "architecture": architecture,
        "config": {"Cmd": command or ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "test"} for _ in layers],
    }
    if variant:
        config["variant"] = variant[0]
    raw = json.dumps(config).encode()
    kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
    config_type = (
        "application/vnd.docker.container.image.v1+json"
        if docker
        else "application/vnd.oci.image.config.v1+json"
    )
    layer_type = (
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
        if docker
        else "application/vnd.oci.image.layer.v1.tar+gzip"
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": config_type, "digest": digest(raw), "size": len(raw)},
        "layers": [
            {
                "mediaType": (layer_types or {}).get(n, layer_type),
                "digest": digest(data),
                "size": len(data),
            }
            for n, data in enumerate(layers)
        ],
    }
    blobs = {digest(data): data for data in (raw, *layers)}
    return Image(json.dumps(manifest).encode(), kind, blobs)


def index(images: Mapping[str, Image], *, docker: bool = False, attestation: bool = False) -> bytes:
    """An index of `images` by platform."""
    entries: list[dict[str, Any]] = []
    for platform, one in images.items():
        system, architecture, *variant = platform.split("/")
        where = {"os": system, "architecture": architecture} | (
            {"variant": variant[0]} if variant else {}
        )
        entries.append(
            {
                "mediaType": one.media_type,
                "digest": one.digest,
                "size": len(one.manifest),
                "platform": where,
            }
        )
    if attestation:
        entries.append({
            "mediaType": OCI_MANIFEST, "digest": "sha256:" + "ab" * 32, "size": 1,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        })  # fmt: skip
    kind = DOCKER_INDEX if docker else OCI_INDEX
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
