"""Kubernetes' resources in a document: their pod specs, and what ConfigMaps and Secrets hold."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import replace

from hardtack.manifests import marks
from hardtack.manifests.model import Kind
from hardtack.manifests.yamlpos import Document, Mapping, Node, Scalar, Sequence, children, text_of

POD_SPEC = {
    "Pod": ("spec",),
    "PodTemplate": ("template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
} | dict.fromkeys(
    ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController"),
    ("spec", "template", "spec"),
)
CONTAINERS = {
    "containers": Kind.CONTAINER,
    "initContainers": Kind.INIT,
    "ephemeralContainers": Kind.EPHEMERAL,
}


def pod_specs(document: Document) -> Iterator[tuple[str, Mapping]]:
    """(way, pod spec) for each pod spec of a document, those inside a List too."""
    for way, root in resources(document):
        spec = root.get(*POD_SPEC.get(text_of(root.get("kind")), ("\0",)))
        if isinstance(spec, Mapping):
            yield way, spec


def resources(document: Document) -> Iterator[tuple[str, Mapping]]:
    """(way, resource): the document itself, or each item of a List."""
    yield from _resources(document.root, document.path, 0)


def _resources(root: Node, above: str, depth: int) -> Iterator[tuple[str, Mapping]]:
    if not isinstance(root, Mapping):
        for item in root if isinstance(root, Sequence) else ():
            if isinstance(item, Mapping) and "kind" in item:
                yield from _resources(item, above, depth + 1)
        return
    kind = text_of(root.get("kind"))
    name = marks.shown(text_of(root.get("metadata", "name")), "…")
    way = " › ".join(part for part in (above, f"{kind}/{name}".strip("/")) if part)
    if kind.endswith("List") and "items" in root and depth < 10:
        for item in children(root.get("items")):
            yield from _resources(item, way, depth + 1)
    else:
        yield way, root


def strings(root: Mapping) -> Iterator[tuple[str, Scalar, Scalar]]:
    """(field, key, text) of what a ConfigMap or Secret holds; base64 read."""
    encoded = {"data"} if text_of(root.get("kind")) == "Secret" else set()
    for field in ("data", "stringData"):
        values = root.get(field)
        for key, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, Scalar):
                plain = field not in encoded
                text = value if plain else replace(value, text=decoded(value.text), style="")
                yield field, key, text


def decoded(text: str) -> str:
    """What base64 stands for, where it's text; nothing elsewhere."""
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
