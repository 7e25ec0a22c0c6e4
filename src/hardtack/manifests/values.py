"""Images that a chart's values name by convention: `image: {repository, tag}`, `…image: text`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hardtack.core.errors import BadReference
from hardtack.manifests import settings
from hardtack.manifests.build import found
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.reference import Reference
from hardtack.manifests.settings import joined
from hardtack.manifests.yamlpos import Document, Mapping, Node, Scalar, Sequence

ONLY = "named in values only: no template that can be read raw resolves to it"


def images(document: Document) -> Iterator[FoundImage]:
    """What the values file names. `reason` is ONLY; those that templates resolve to are the
    caller's to leave out."""
    for path, node in _named(document.root, "values", 0):
        unclear = f"cannot tell: {ONLY}, and a template stands in it" if "{{" in node.text else ""
        image = found(node.text, document.place(node), path, Kind.CONTAINER, unknown=unclear)
        if image.reference is None:
            yield image
        elif image.reference.tag is None and image.reference.digest is None:
            unclear = f"cannot tell: {ONLY}, and no tag is given"
            yield replace(image, reference=None, reason=unclear)
        else:
            yield replace(image, reason=ONLY)


def _named(node: Node, path: str, depth: int) -> Iterator[tuple[str, Scalar]]:
    if depth > 60:
        return
    if isinstance(node, Sequence):
        for number, child in enumerate(node):
            yield from _named(child, f"{path}[{number}]", depth + 1)
    if not isinstance(node, Mapping):
        return
    if whole := joined(node, loosely=False):
        yield path, whole
        return
    others = settings.by_words(node)
    for key, value in node.items():
        step = f"{path} › {key.text}"
        named = list(settings.entry(key.text, value, others))
        for each in named:
            yield f"{step}{each.step}", each.text
        if isinstance(value, Scalar):
            plain = value.tag == "str" and value.text.strip()
            if not named and key.text.lower().endswith("image") and plain:
                yield step, value
        elif not named:
            yield from _named(value, step, depth + 1)


def reference_of(image: FoundImage) -> Reference | None:
    """What the text says, even where it lacks the tag that a lock needs, or a template gives it."""
    try:
        return Reference.parse(image.raw.partition("{{")[0].rstrip(":@"))
    except BadReference:
        return None
