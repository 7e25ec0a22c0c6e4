"""Images that containers' variables take out of ConfigMaps and Secrets of the same files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from hardtack.manifests import marks, settings
from hardtack.manifests.build import found
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Place
from hardtack.manifests.resources import CONTAINERS, pod_specs, resources, strings
from hardtack.manifests.yamlpos import Document, Mapping, Node, Scalar, children, text_of

_REFERENCES = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}


@dataclass(frozen=True)
class _Kept:
    """A value of a ConfigMap or Secret."""

    document: Document
    way: str
    value: Scalar


def images(documents: Collection[Document], told: Collection[Place]) -> Iterator[FoundImage]:
    """What variables that name images by `valueFrom` stand for, but where an image is `told`."""
    kept: dict[tuple[str, str], dict[str, list[_Kept]]] = {}
    for document in documents:
        for kind, name, key, each in _kept(document):
            kept.setdefault((kind, name), {}).setdefault(key, []).append(each)
    known = {(place.file, place.line) for place in told}
    for document in documents:
        for way, variable, source in _asked(document):
            for image in _resolved(document, way, variable, source, kept):
                if (image.place.file, image.place.line) not in known:
                    yield image


def _asked(document: Document) -> Iterator[tuple[str, Scalar, Mapping]]:
    """(way, variable, `valueFrom`) of each variable that names an image."""
    for way, pod in pod_specs(document):
        for field in CONTAINERS:
            for number, container in enumerate(children(pod.get(field))):
                for entry in children(container.get("env")):
                    name, source = entry.get("name"), entry.get("valueFrom")
                    if isinstance(name, Scalar) and isinstance(source, Mapping) and (
                        settings.names_one(name.text)):  # fmt: skip
                        step = f"{way} › {field}[{number}] › env.{name.text}"
                        yield step.removeprefix(" › "), name, source


def _resolved(
    document: Document,
    way: str,
    name: Scalar,
    source: Mapping,
    kept: dict[tuple[str, str], dict[str, list[_Kept]]],
) -> Iterator[FoundImage]:
    field, where = next(iter(source.by_key.items()), ("", source))
    kind = _REFERENCES.get(field, "")
    owner, key = _shown(where.get("name")), text_of(where.get("key"))
    there = kept.get((kind, owner))
    if there and key in there:
        for each in there[key]:
            for image in _named(name.text, each):
                yield replace(image, path=f"{way} › {each.way}", hidden=True)
        return
    what = f"{kind}/{owner}, which {f'has no {key}' if there else 'is not among the files'}"
    reason = f"cannot tell: it comes from {what if kind else field}"
    yield FoundImage(name.text, None, document.place(name), way, Kind.SETTING,
                     hidden=document.hidden, reason=reason)  # fmt: skip


def _named(variable: str, kept: _Kept) -> Iterator[FoundImage]:
    text = marks.shown(kept.value.text)
    for image, why in settings.images(variable, text):
        unknown = "cannot tell: it is made by a template" if "{{…}}" in text else why
        place = kept.document.place(kept.value)
        yield found(image, place, kept.way, Kind.SETTING, unknown=unknown)


def _kept(document: Document) -> Iterator[tuple[str, str, str, _Kept]]:
    """(kind, name, key, value) of what a document's ConfigMaps and Secrets hold."""
    for way, root in resources(document):
        kind, name = text_of(root.get("kind")), _shown(root.get("metadata", "name"))
        if kind not in _REFERENCES.values():
            continue
        for field, key, value in strings(root):
            yield kind, name, key.text, _Kept(document, f"{way} › {field}.{key.text}", value)


def _shown(node: Node | None) -> str:
    return marks.shown(text_of(node), "…")
