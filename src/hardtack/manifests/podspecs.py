"""Images that a Kubernetes document names: in pod specs of every kind, and in custom resources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hardtack.manifests import marks, settings
from hardtack.manifests.build import found, policy_in_force
from hardtack.manifests.grafts import untold_in
from hardtack.manifests.holes import Hole, expand
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.resources import CONTAINERS, POD_SPEC, resources
from hardtack.manifests.started import Programs
from hardtack.manifests.yamlpos import (
    Document,
    Mapping,
    Node,
    Scalar,
    Sequence,
    children,
    standing_at,
    text_of,
)


@dataclass(frozen=True)
class _Reader:
    document: Document
    holes: tuple[Hole, ...] = ()

    @property
    def programs(self) -> Programs:
        return Programs(self.document, self.holes)

    def image(
        self, node: Scalar, path: str, kind: Kind, owner: Mapping, platforms: tuple[str, ...] = ()
    ) -> Iterator[FoundImage]:
        """The image that `node` names: several where a template chooses among them."""
        texts = expand(text_of(node), self.holes)
        for raw, unknown in [each for each in texts if any(each)] or texts:
            image = found(raw, self.document.place(node), path, kind, platforms=platforms,
                          hidden=self.document.hidden, unknown=unknown)  # fmt: skip
            if self.document.template and marks.lacks_digest(raw):
                continue  # for those whose values give a digest
            yield replace(image, policy=self.policy(owner, image, kind))

    def policy(self, owner: Mapping, image: FoundImage, kind: Kind) -> PullPolicy:
        names = ("imagePullPolicy", "pullPolicy")
        nodes = [value for key, value in owner.items() if key.text in names]
        texts = expand(text_of(nodes[-1]), self.holes) if nodes else [("", "")]
        written, unclear = texts[-1]
        if len(texts) > 1 or len({text_of(node) for node in nodes}) > 1:
            unclear = "cannot tell: a condition of the template chooses it"
        if not nodes and kind is not Kind.CRD and (untold := untold_in(owner)):
            unclear = f"cannot tell: {untold[:80]} may set it"
        if kind is Kind.CRD and not nodes:
            return PullPolicy(None, False, "whoever reads this resource decides")
        return policy_in_force(written, image.reference, unclear=unclear)

    def pod(self, way: str, spec: Mapping) -> Iterator[FoundImage]:
        platforms = _platforms(spec)
        for key, value in spec.items():
            if kind := CONTAINERS.get(key.text):
                for number, container in enumerate(children(value)):
                    if isinstance(container, Mapping):
                        step = f"{way} › {key.text}[{number}]".removeprefix(" › ")
                        yield from self.container(step, container, kind, platforms)
            elif key.text == "volumes":
                for number, volume in enumerate(children(value)):
                    source = volume.get("image")
                    named = source.get("reference") if source else None
                    if isinstance(named, Scalar) and isinstance(source, Mapping):
                        step = f"{way} › volumes[{number}]"
                        yield from self.image(named, step, Kind.VOLUME, source, platforms)

    def container(
        self, way: str, container: Mapping, kind: Kind, platforms: tuple[str, ...]
    ) -> Iterator[FoundImage]:
        for key, value in container.items():
            if key.text == "image" and isinstance(value, Scalar):
                yield from self.image(standing_at(key, value), way, kind, container, platforms)
        yield from self.programs.container(way, container)

    def operations(self) -> Iterator[FoundImage]:
        """Images of a JSON patch (RFC 6902): a list of operations."""
        for number, each in enumerate(children(self.document.root)):
            path, value = text_of(each.get("path")), each.get("value")
            if not isinstance(each, Mapping) or "op" not in each or value is None:
                continue
            way = " › ".join(part for part in (self.document.path, f"[{number}] {path}") if part)
            if path.endswith("/image") and isinstance(value, Scalar):
                yield found(value.text, self.document.place(value), way, Kind.CONTAINER)
            else:
                yield from self.custom(way, value)

    def custom(self, way: str, node: Node, depth: int = 0) -> Iterator[FoundImage]:
        """Images of any other resource, by `image` fields and pod specs."""
        if isinstance(node, Sequence):
            for number, child in enumerate(node):
                yield from self.custom(f"{way}[{number}]", child, depth + 1)
        if not isinstance(node, Mapping) or depth > 60:
            return
        is_pod = bool(children(node.get("containers")))
        if is_pod:
            yield from self.pod(way, node)
        whole = settings.joined(node, loosely=False) if "image" in node else None
        if whole is not None:
            yield from self.image(whole, way, Kind.CRD, node)
        others = settings.by_words(node)
        for key, value in node.items():
            is_done = (whole and isinstance(value, Scalar)) or (is_pod and key.text in CONTAINERS)
            if is_done:
                continue
            step = f"{way} › {key.text}".removeprefix(" › ")
            if key.text == "image" and isinstance(value, Scalar) and value.tag == "str":
                yield from self.image(value, step, Kind.CRD, node)
                yield from self.programs.container(way, node)
                for script in ("source", "script"):  # Argo's and Tekton's
                    yield from self.programs.script(node.get(script), f"{way} › {script}")
            elif named := list(settings.entry(key.text, value, others)):
                for each in named:
                    yield from self.named(each, step, node)
            else:
                yield from self.custom(step, value, depth + 1)

    def named(self, named: settings.Named, way: str, owner: Mapping) -> Iterator[FoundImage]:
        """The image of an entry; one that what reads the entry may change can't be told."""
        for image in self.image(named.text, f"{way}{named.step}", Kind.CRD, named.parts or owner):
            is_told = image.reference is None or not named.why
            yield image if is_told else replace(image, reference=None, reason=named.why)


def images(document: Document, holes: tuple[Hole, ...] = ()) -> Iterator[FoundImage]:
    """Every image that the document names. `holes` are those of its template."""
    reader = _Reader(document, holes)
    yield from reader.operations()
    for way, root in resources(document):
        kind = text_of(root.get("kind"))
        if kind in POD_SPEC:
            spec = root.get(*POD_SPEC[kind])
            if isinstance(spec, Mapping):
                yield from reader.pod(way, spec)
        elif kind in ("ConfigMap", "Secret"):
            for image in reader.programs.configured(way, root):
                yield replace(image, hidden=True)
        elif kind != "CustomResourceDefinition":
            yield from reader.custom(way, root)


def fragment(document: Document, below: str) -> Iterator[FoundImage]:
    """Images of a part of a manifest; `below` is the list of containers it stands in, if any."""
    reader = _Reader(document)
    root = document.root
    if isinstance(root, Sequence) and below in CONTAINERS:
        key = Scalar(root.line, root.column, below)
        spec = Mapping(root.line, root.column, ((key, root),), {below: root})
        yield from reader.pod(document.path, spec)
        return
    for image in reader.custom(document.path, root):
        yield replace(image, kind=Kind.CONTAINER) if image.kind is Kind.CRD else image


def _platforms(spec: Mapping) -> tuple[str, ...]:
    selector = spec.get("nodeSelector")
    arch = text_of(selector.get("kubernetes.io/arch")) if selector else ""
    if not arch or not arch.isalnum():
        return ()
    return (f"{text_of(selector.get('kubernetes.io/os')) or 'linux' if selector else ''}/{arch}",)
