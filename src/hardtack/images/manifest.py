"""Docker and OCI manifests and indexes, read from the registry's own bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from hardtack.core.errors import CorruptReply, NotFound, RegistryError
from hardtack.images.platforms import Platform

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_MANIFEST = 4 << 20  # containerd's and the distribution registry's limit


class Descriptor(NamedTuple):
    """What points at a blob: media type, `sha256:…` digest, size in bytes. `attestation`: it is
    provenance or an SBOM, which an index lists beside the images."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    attestation: bool = False

    @property
    def hex(self) -> str:
        return self.digest.removeprefix("sha256:")

    @property
    def foreign(self) -> bool:
        """A layer that registries don't hand out (Windows base layers)."""
        return "foreign" in self.media_type or "nondistributable" in self.media_type


class Manifest(NamedTuple):
    """One image for one platform: its bytes, and what they point at."""

    descriptor: Descriptor
    raw: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configuration and layers, each digest once."""
        return tuple({d.digest: d for d in (self.config, *self.layers)}.values())

    @property
    def size(self) -> int:
        """Bytes of the blobs that registries hand out."""
        return sum(blob.size for blob in self.blobs if not blob.foreign)


class Index(NamedTuple):
    """Several images under one name, one for each platform."""

    descriptor: Descriptor
    raw: bytes
    entries: tuple[Descriptor, ...]

    def choose(self, platform: Platform, name: str) -> Descriptor:
        """The entry that containerd would run on `platform`. Raises NotFound, naming others."""
        images = [e for e in self.entries if not e.attestation and e.platform is not None]
        for wanted in platform.accepts():
            for entry in images:
                if entry.platform == wanted:
                    return entry
        there = ", ".join(sorted({str(e.platform) for e in images})) or "no image at all"
        raise NotFound(
            f"{name} has no image for {platform}; it has {there}.",
            remedy="Choose another tag, or lock only platforms that it is built for.",
        )


def sha256(raw: bytes) -> str:
    """The digest of `raw` as registries write it."""
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def parse(raw: bytes, content_type: str, name: str) -> Manifest | Index:
    """The manifest or index in `raw`, which the registry called `content_type`.

    Raises RegistryError for what this tool can't use (schema 1, artifacts), CorruptReply for what
    isn't a manifest at all.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CorruptReply(f"The manifest of {name} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise CorruptReply(f"The manifest of {name} is not a JSON object.")
    media_type = str(document.get("mediaType") or content_type.split(";", maxsplit=1)[0].strip())
    if document.get("schemaVersion") == 1 or media_type.startswith(SCHEMA1):
        raise RegistryError(
            f"{name} has a manifest of schema 1, which containerd no longer loads.",
            remedy="Push the image again with a current tool, or use a newer tag.",
        )
    try:
        descriptor = Descriptor(media_type, sha256(raw), len(raw))
        if media_type in INDEXES:
            return Index(descriptor, raw, _descriptors(document["manifests"]))
        if media_type in MANIFESTS:
            return Manifest(
                descriptor, raw, _descriptor(document["config"]), _descriptors(document["layers"])
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptReply(f"The manifest of {name} lacks a usable field: {error!r}.") from error
    raise RegistryError(
        f"{name} has a manifest of media type {media_type or 'unknown'}; "
        "expected a Docker or OCI image manifest or index."
    )


def _descriptors(entries: Sequence[Any]) -> tuple[Descriptor, ...]:
    return tuple(_descriptor(entry) for entry in entries)


def _descriptor(entry: dict[str, Any]) -> Descriptor:
    digest, size = entry["digest"], entry["size"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"digest {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"size {size!r}")
    platform = None
    if stated := entry.get("platform"):
        platform = Platform.of(
            str(stated.get("os", "")),
            str(stated.get("architecture", "")),
            str(stated.get("variant", "")),
        )
    attestation = "vnd.docker.reference.type" in (entry.get("annotations") or {})
    urls = tuple(str(u) for u in entry.get("urls") or ())
    return Descriptor(str(entry.get("mediaType", "")), digest, size, platform, urls, attestation)
