"""Images of one Kubernetes document: pod specs of every kind, and custom resources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hardtack.core.errors import BadReference
from hardtack.manifests.build import CLOSE, OPEN, Hole, expand, found, policy_in_force
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.place import Place
from hardtack.manifests.programs import fetched, is_named
from hardtack.manifests.reference import Reference
from hardtack.manifests.shell import pulled
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
_ACTION = re.compile(f"{OPEN}[0-9]*{CLOSE}")


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
    name = _ACTION.sub("…", text_of(root.get("metadata", "name")))
    way = " › ".join(part for part in (above, f"{kind}/{name}".strip("/")) if part)
    if kind.endswith("List") and "items" in root and depth < 10:
        for item in children(root.get("items")):
            yield from _resources(item, way, depth + 1)
    else:
        yield way, root


@dataclass(frozen=True)
class _Reader:
    document: Document
    holes: tuple[Hole, ...]

    def image(
        self, node: Scalar, path: str, kind: Kind, owner: Mapping, platforms: tuple[str, ...] = ()
    ) -> Iterator[FoundImage]:
        """The image that `node` names: several where a template chooses among them."""
        for raw, unknown in expand(node.text, self.holes):
            image = found(raw, self.document.place(node), path, kind, platforms=platforms,
                          hidden=self.document.hidden, unknown=unknown)  # fmt: skip
            yield replace(image, policy=self.policy(owner, image, kind))

    def policy(self, owner: Mapping, image: FoundImage, kind: Kind) -> PullPolicy:
        names = ("imagePullPolicy", "pullPolicy")
        nodes = [value for key, value in owner.items() if key.text in names]
        texts = expand(text_of(nodes[-1]), self.holes) if nodes else [("", "")]
        written, unclear = texts[-1]
        if len(texts) > 1 or len({text_of(node) for node in nodes}) > 1:
            unclear = "cannot tell: a condition of the template chooses it"
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
                yield from self.image(_standing_at(key, value), way, kind, container, platforms)
        for commands in (
            (container.get("command"), container.get("args")),
            (container.get("lifecycle", "postStart", "exec", "command"),),
            (container.get("lifecycle", "preStop", "exec", "command"),),
        ):
            words = [w for each in commands for w in children(each) if isinstance(w, Scalar)]
            yield from self.words(words, f"{way} › command")

    def words(self, words: list[Scalar], way: str) -> Iterator[FoundImage]:
        """Images that a command, given word by word, fetches, or a script among its words."""
        at = next((n for n, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word.text)), 0)
        for word in words[at + 1 :] if at else words:
            yield from self.script(word, way)
        if not words or not is_named(" ".join(word.text for word in words)):
            return
        known: dict[str, Scalar] = {word.text: word for word in reversed(words)}
        for command, raw, platform in fetched([word.text for word in words]):
            named = next((w for text, w in known.items() if raw and raw in text), words[0])
            yield from self.pulled(raw, self.document.place(named), f"{way} › {command}", platform)

    def script(self, node: Node, way: str) -> Iterator[FoundImage]:
        """Images that a script in a string pulls."""
        if not isinstance(node, Scalar) or " " not in node.text:
            return
        for line, command, raw, platform in pulled(node.text):
            place = self.document.place(node)
            if node.style == "|":
                place = replace(place, line=node.line + 1 + line)
            yield from self.pulled(raw, place, f"{way} › {command}", platform)

    def pulled(self, raw: str, place: Place, way: str, platform: str) -> Iterator[FoundImage]:
        platforms = (platform,) if platform and OPEN not in platform else ()
        for text, unknown in expand(raw, self.holes):
            yield found(text, place, way, Kind.COMMAND, platforms=platforms,
                        hidden=self.document.hidden, unknown=unknown)  # fmt: skip

    def custom(self, way: str, node: Node, depth: int = 0) -> Iterator[FoundImage]:
        """Images of any other resource, by `image` fields and pod specs."""
        if isinstance(node, Sequence):
            for number, child in enumerate(node):
                yield from self.custom(f"{way}[{number}]", child, depth + 1)
        if not isinstance(node, Mapping) or depth > 60:
            return
        if children(node.get("containers")):
            yield from self.pod(way, node)
        for key, value in node.items():
            step = f"{way} › {key.text}".removeprefix(" › ")
            if key.text in CONTAINERS and children(node.get("containers")):
                continue
            if isinstance(value, Scalar) and _names_image(key.text, value):
                yield from self.image(value, step, Kind.CRD, node)
            elif key.text == "image" and isinstance(value, Mapping) and "repository" in value:
                yield from self.image(joined(value), step, Kind.CRD, value)
            else:
                yield from self.custom(step, value, depth + 1)


def images(document: Document, holes: tuple[Hole, ...] = ()) -> Iterator[FoundImage]:
    """Every image that the document names. `holes` are those of its template."""
    reader = _Reader(document, holes)
    for way, root in resources(document):
        kind = text_of(root.get("kind"))
        if kind in POD_SPEC:
            spec = root.get(*POD_SPEC[kind])
            if isinstance(spec, Mapping):
                yield from reader.pod(way, spec)
        elif kind in ("ConfigMap", "Secret"):
            for field in ("data", "stringData"):
                values = root.get(field)
                for key, value in values.items() if isinstance(values, Mapping) else ():
                    for image in reader.script(value, f"{way} › {field}.{key.text}"):
                        yield replace(image, hidden=True)
        elif kind != "CustomResourceDefinition":
            yield from reader.custom(way, root)


def fragment(document: Document, below: str) -> Iterator[FoundImage]:
    """Images of a part of a manifest; `below` is the list of containers it stands in, if any."""
    reader = _Reader(document, ())
    root = document.root
    if isinstance(root, Sequence) and below in CONTAINERS:
        key = Scalar(root.line, root.column, below)
        spec = Mapping(root.line, root.column, ((key, root),), {below: root})
        yield from reader.pod(document.path, spec)
        return
    for image in reader.custom(document.path, root):
        yield replace(image, kind=Kind.CONTAINER) if image.kind is Kind.CRD else image


def _names_image(key: str, value: Scalar) -> bool:
    """Whether a resource's field names an image: `image`, and where the text surely is one
    `initImage: a/b:1` too, not `osImage: Debian 12`."""
    if key == "image":
        return value.tag == "str"
    try:
        reference = Reference.parse(value.text) if key.endswith("Image") else None
    except BadReference:
        return False
    return bool(reference and (reference.tag or reference.digest))


def _standing_at(key: Scalar, value: Scalar) -> Scalar:
    """The value, at the key when an alias brought it from elsewhere."""
    if key.line <= value.line <= key.line + 1:
        return value
    return replace(value, line=key.line, column=key.column)


def joined(image: Mapping) -> Scalar:
    """`{registry, repository, tag, digest}` as one text."""
    part = {name: text_of(image.get(name)) for name in ("registry", "repository", "tag", "digest")}
    text = "/".join(piece for piece in (part["registry"], part["repository"]) if piece)
    text += f":{part['tag']}" if part["tag"] else ""
    text += f"@{part['digest']}" if part["digest"] else ""
    at = image.get("repository") or image
    return Scalar(at.line, at.column, text)


def _platforms(spec: Mapping) -> tuple[str, ...]:
    selector = spec.get("nodeSelector")
    arch = text_of(selector.get("kubernetes.io/arch")) if selector else ""
    if not arch or not arch.isalnum():
        return ()
    return (f"{text_of(selector.get('kubernetes.io/os')) or 'linux' if selector else ''}/{arch}",)
