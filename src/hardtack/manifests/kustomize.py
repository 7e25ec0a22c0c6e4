"""kustomize's `images:`: names, tags and digests that it puts in place of the manifests' own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hardtack.core.errors import BadReference
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.reference import Reference
from hardtack.manifests.yamlpos import Document, children, text_of

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_MOVED = (Kind.CONTAINER, Kind.INIT, Kind.EPHEMERAL)  # no variables, no strings of ConfigMaps
TAKEN_IN = ("resources", "bases", "components")


@dataclass(frozen=True)
class Override:
    """One entry of `images:` in a kustomization and the files it applies to (`below`)."""

    name: str
    new_name: str
    new_tag: str
    digest: str
    below: tuple[Path, ...]


def overrides(document: Document) -> list[Override]:
    here = document.file.parent
    below = tuple(
        (here / text_of(item)).resolve()
        for field in TAKEN_IN
        for item in children(document.root.get(field))
        if text_of(item) and "://" not in text_of(item)
    )
    return [
        Override(
            text_of(entry.get("name")),
            text_of(entry.get("newName")),
            text_of(entry.get("newTag")),
            text_of(entry.get("digest")),
            below,
        )
        for entry in children(document.root.get("images"))
    ]


def applied(image: FoundImage, found: list[Override]) -> FoundImage:
    """The image as the overrides leave it. The place stays the manifest's."""
    if image.reference is None or image.hidden or image.kind not in _MOVED:
        return image
    file = image.place.file.resolve()
    for override in found:
        if not any(file == path or path in file.parents for path in override.below):
            continue
        try:
            if Reference.parse(override.name).full_repository != image.reference.full_repository:
                continue
            reference = image.reference
            if override.new_name:
                named = Reference.parse(override.new_name)
                reference = replace(named, tag=reference.tag, digest=reference.digest)
            if override.new_tag:
                reference = replace(reference, digest=None).with_tag(override.new_tag)
            if override.digest:
                reference = replace(reference, tag=None).with_digest(override.digest)
        except BadReference as error:
            return replace(image, reference=None, reason=error.message)
        return replace(image, reference=reference, path=f"{image.path} › kustomize images")
    return image
