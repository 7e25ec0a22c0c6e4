"""Kustomizations: the `images:` that they put in place of the manifests' own, the patches and the
settings that they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hardtack.core.errors import BadReference
from hardtack.manifests import settings
from hardtack.manifests.build import found, policy_in_force
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.reference import Reference
from hardtack.manifests.yamlpos import Document, Scalar, children, parse, text_of

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
TAKEN_IN = ("resources", "bases", "components")
_MOVED = (Kind.CONTAINER, Kind.INIT, Kind.EPHEMERAL)  # no variables, no strings of ConfigMaps
_OVERRIDE = ("name", "newName", "newTag", "digest", "tagSuffix")
_PATCHES = (("patches", "patch"), ("patchesJson6902", "patch"), ("patchesStrategicMerge", ""))


class _Untold(Exception):
    """Kustomize's versions don't agree on an entry: 5.6 puts a tag's suffix there twice."""


@dataclass(frozen=True)
class Override:
    """One entry of `images:`."""

    name: str
    new_name: str
    new_tag: str
    digest: str
    tag_suffix: str

    def applied(self, text: str) -> str:
        """The image as the entry leaves it. Names are compared as they are written: `nginx` and
        `docker.io/library/nginx` are two to kustomize. Raises _Untold."""
        named, _, digest = text.partition("@")
        at = named.rfind(":", named.rfind("/") + 1)
        name, tag = (named[:at], named[at + 1 :]) if at >= 0 else (named, "")
        if name != self.name:
            return text
        if self.new_tag or self.digest:
            tag, digest = self.new_tag, self.digest
        elif self.tag_suffix:
            raise _Untold
        name = self.new_name or name
        return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


@dataclass(frozen=True)
class Kustomization:
    """`takes_in` are files and directories; a component's `images` hold for whoever takes it in."""

    directory: Path
    takes_in: tuple[Path, ...]
    components: tuple[Path, ...]
    images: tuple[Override, ...]
    patches: tuple[Path, ...]


@dataclass
class Kustomizations:
    """Those of a scan, by their directories."""

    known: dict[Path, Kustomization] = field(default_factory=dict)

    def add(self, document: Document) -> None:
        here = Path(os.path.realpath(document.file.parent))
        taken = {
            name: tuple(
                Path(os.path.realpath(here / text))
                for item in children(document.root.get(name))
                if (text := text_of(item)) and "://" not in text
            )
            for name in TAKEN_IN
        }
        images = tuple(
            Override(*(text_of(entry.get(key)) for key in _OVERRIDE))
            for entry in children(document.root.get("images"))
        )
        self.known[here] = Kustomization(
            here, (*taken["resources"], *taken["bases"]), taken["components"], images,
            tuple(Path(os.path.realpath(here / text)) for text in _patch_files(document)),
        )  # fmt: skip

    def applied(self, image: FoundImage) -> Sequence[FoundImage]:
        """The image as each outermost kustomization leaves it. The place stays the manifest's."""
        image = self._patched(image)
        if image.reference is None or image.hidden or image.kind not in _MOVED:
            return [image]
        file = Path(os.path.realpath(image.place.file))
        ways = [way for top in self._tops() for way in self._ways(top, file, frozenset())]
        left = [self._left(image, way) for way in ways]
        return list({(each.reference, each.reason): each for each in left}.values()) or [image]

    def _patched(self, image: FoundImage) -> FoundImage:
        """A patch that says nothing of the pull policy leaves what it patches with its own."""
        if not self.known or image.policy is None or image.policy.explicit:
            return image
        file = Path(os.path.realpath(image.place.file))
        is_patch = file.name in FILES or any(file in each.patches for each in self.known.values())
        return replace(image, policy=None) if is_patch else image

    def _tops(self) -> list[Kustomization]:
        """Those that no other takes in."""
        inner = {
            path for each in self.known.values() for path in (*each.takes_in, *each.components)
        }
        return [each for directory, each in self.known.items() if directory not in inner]

    def _ways(
        self, outer: Kustomization, file: Path, above: frozenset[Path]
    ) -> Iterator[list[Override]]:
        """The overrides on each way by which `outer` takes the file in, the innermost first."""
        if outer.directory in above:
            return
        own = [each for path in outer.components for each in self._of_component(path)]
        own += outer.images
        for path in outer.takes_in:
            inner = self.known.get(path)
            if inner:
                above |= {outer.directory}
                yield from ([*way, *own] for way in self._ways(inner, file, above))
            elif file == path or path in file.parents:
                yield own
        if any(path in file.parents for path in outer.components):
            yield own

    def _of_component(self, directory: Path, depth: int = 0) -> Iterator[Override]:
        component = self.known.get(directory)
        if component and depth < 10:
            for path in component.components:
                yield from self._of_component(path, depth + 1)
            yield from component.images

    def _left(self, image: FoundImage, way: Sequence[Override]) -> FoundImage:
        text = image.raw.strip()
        try:
            for override in way:
                text = override.applied(text)
        except _Untold:
            reason = "cannot tell: kustomize adds a tagSuffix once or twice: write newTag"
            return replace(image, reference=None, reason=reason)
        if text == image.raw.strip():
            return image
        try:
            reference = Reference.parse(text)
        except BadReference as error:
            return replace(image, reference=None, reason=error.message)
        policy = image.policy
        if policy and policy.value and not policy.explicit:
            policy = policy_in_force("", reference)
        path = f"{image.path} › kustomize images"
        return replace(image, reference=reference, policy=policy, path=path)


def _patch_files(document: Document) -> Iterator[str]:
    for name, _ in _PATCHES:
        for entry in children(document.root.get(name)):
            text = text_of(entry) or text_of(entry.get("path"))
            if text and "\n" not in text:
                yield text


def patches(document: Document) -> Iterator[Document]:
    """The patches that a kustomization has in its own strings."""
    for name, key in _PATCHES:
        for number, entry in enumerate(children(document.root.get(name))):
            node = entry.get(key) if key else entry
            if isinstance(node, Scalar) and "\n" in node.text:
                first = node.line + 1 if node.style in ("|", ">") else node.line
                lines = partial(_within, first, max(node.end_line, first))
                inner, _ = parse(node.text, document.file, lines=lines)
                for each in inner:
                    yield replace(each, path=f"{name}[{number}]")


def _within(first: int, last: int, number: int) -> int:
    return min(first + number, last)


def generated(document: Document) -> Iterator[FoundImage]:
    """Images that the literals of a kustomization's ConfigMaps and Secrets name."""
    for name in ("configMapGenerator", "secretGenerator"):
        for number, entry in enumerate(children(document.root.get(name))):
            for literal in children(entry.get("literals")):
                key, _, text = text_of(literal).partition("=")
                value = Scalar(literal.line, literal.column, text.strip("\"'"))
                for named in settings.entry(key, value, {}):
                    yield found(named.text.text, document.place(literal),
                                f"{name}[{number}] › {key}", Kind.SETTING, hidden=True,
                                unknown=named.why)  # fmt: skip


def environments(document: Document) -> Iterator[Path]:
    """The files of settings that a kustomization makes ConfigMaps and Secrets of."""
    for name in ("configMapGenerator", "secretGenerator"):
        for entry in children(document.root.get(name)):
            for each in (*children(entry.get("envs")), entry.get("env")):
                if text_of(each):
                    yield document.file.parent / text_of(each)
