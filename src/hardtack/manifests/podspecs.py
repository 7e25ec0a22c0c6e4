"""Images of one Kubernetes document: pod specs of every kind, and custom resources."""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Variables
from dataclasses import dataclass, replace
from pathlib import Path

from hardtack.manifests import marks, settings
from hardtack.manifests.build import found, policy_in_force
from hardtack.manifests.grafts import untold_in
from hardtack.manifests.holes import Hole, expand
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.place import Place
from hardtack.manifests.programs import fetched, is_named, starts
from hardtack.manifests.shell import pulled, substitute
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
_REFERENCE = re.compile(r"\$\(([A-Za-z_][\w.-]*)\)")


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
                yield (
                    field,
                    key,
                    (
                        replace(value, text=decoded(value.text), style="")
                        if field in encoded
                        else value
                    ),
                )


def decoded(text: str) -> str:
    """What base64 stands for, where it's text; nothing elsewhere."""
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


@dataclass(frozen=True)
class _Reader:
    document: Document
    holes: tuple[Hole, ...]

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
        yield from self.runs(way, container)

    def runs(self, way: str, container: Mapping) -> Iterator[FoundImage]:
        """Images that a container's commands fetch or start, or its variables name."""
        yield from self.environment(way, container.get("env"))
        variables = _variables(container.get("env"))
        for commands in (
            (container.get("command"), container.get("args")),
            (container.get("lifecycle", "postStart", "exec", "command"),),
            (container.get("lifecycle", "preStop", "exec", "command"),),
        ):
            words = [
                replace(word, text=_expanded(word.text, variables))
                for each in commands
                for word in children(each)
                if isinstance(word, Scalar)
            ]
            yield from self.words(words, f"{way} › command", variables)

    def words(
        self, words: list[Scalar], way: str, variables: dict[str, str]
    ) -> Iterator[FoundImage]:
        """Images that a command, given word by word, fetches, or a script among its words."""
        at = next((n for n, word in enumerate(words) if re.fullmatch(r"-[a-z]*c", word.text)), 0)
        for word in words[at + 1 :] if at else words:
            yield from self.script(word, way, variables)
        texts = [word.text for word in words]
        if not is_named(" ".join(texts)):
            yield from self.options(words[: at or None], way)
            return
        known = {word.text: word for word in reversed(words)}
        for command, raw, platform in fetched(texts):
            named = next((w for text, w in known.items() if raw and raw in text), words[0])
            yield from self.pulled(raw, self.document.place(named), f"{way} › {command}", platform)

    def options(self, words: list[Scalar], way: str) -> Iterator[FoundImage]:
        """Images in options of a program, which starts them: `--worker-image=a/b:1`."""
        for word, following in itertools.zip_longest(words, words[1:]):
            option, equals, text = word.text.partition("=")
            if not option.startswith("-"):
                continue
            value = replace(word, text=text) if equals else following
            if value is not None and (equals or not value.text.startswith("-")):
                for each in settings.entry(option, value, {}):
                    if not each.why:
                        yield from self.setting(each, f"{way} › {option}")

    def setting(self, named: settings.Named, way: str) -> Iterator[FoundImage]:
        for raw, unknown in expand(named.text.text, self.holes):
            yield found(raw, self.document.place(named.text), way, Kind.SETTING,
                        hidden=self.document.hidden, unknown=unknown or named.why)  # fmt: skip

    def environment(self, way: str, given: Node | None) -> Iterator[FoundImage]:
        """Images in a container's variables, which its program starts."""
        variables = _variables(given)
        others = {"_".join(settings.words(name)): text for name, text in variables.items()}
        for entry in children(given):
            name, value = text_of(entry.get("name")), entry.get("value")
            if not isinstance(value, Scalar):
                continue
            text = _expanded(value.text, variables)
            for called, raw in self.pairs(name, text):
                for each in settings.entry(called, replace(value, text=raw), others):
                    yield from self.setting(each, f"{way} › env.{called}")

    def pairs(self, name: str, value: str) -> list[tuple[str, str]]:
        """Name and value; several where a template's loop gives both together."""
        if marks.is_told(name):
            return [(name, value)]
        texts = expand(f"{name}\n{value}", self.holes)
        found = [text.partition("\n") for text, _ in texts]
        return [(called, raw.strip("\"'")) for called, _, raw in found]

    def configured(self, way: str, root: Mapping) -> Iterator[FoundImage]:
        """Images that the strings of a ConfigMap or Secret name, or fetch."""
        every = list(strings(root))
        others = {"_".join(settings.words(key.text)): value.text for _, key, value in every}
        for field, key, value in every:
            step = f"{way} › {field}.{key.text}"
            yield from self.script(value, step)
            yield from self.kept(step, key.text, value, others)

    def kept(self, way: str, key: str, value: Scalar, others: dict[str, str]
             ) -> Iterator[FoundImage]:  # fmt: skip
        """Images that a value of a ConfigMap names: the value itself, or a line of settings."""
        if "\n" not in value.text.strip():
            for each in settings.entry(key, value, others):
                yield from self.setting(each, way)
            return
        yield from self.lines(way, value.text, lambda n: (
            value.line + 1 + n if value.style == "|" else value.line))  # fmt: skip

    def lines(self, way: str, text: str, line: Callable[[int], int]) -> Iterator[FoundImage]:
        """Images that lines of settings name; `line(n)` is where the n-th, from 0, stands."""
        lines = list(settings.lines(text))
        others = {"_".join(settings.words(name)): value for _, name, value in lines}
        for number, name, value in lines:
            for each in settings.entry(name, Scalar(line(number), 1, value), others):
                yield from self.setting(each, " › ".join(part for part in (way, name) if part))

    def script(
        self, node: Node | None, way: str, variables: dict[str, str] | None = None
    ) -> Iterator[FoundImage]:
        """Images that a script in a string pulls."""
        if not isinstance(node, Scalar) or " " not in node.text:
            return
        for line, command, raw, platform in pulled(node.text, variables):
            place = self.document.place(node)
            if node.style == "|":
                place = replace(place, line=node.line + 1 + line)
            yield from self.pulled(raw, place, f"{way} › {command}", platform)

    def pulled(self, raw: str, place: Place, way: str, platform: str) -> Iterator[FoundImage]:
        platforms = (platform,) if platform and marks.is_told(platform) else ()
        for text, unknown in expand(raw, self.holes):
            kind = Kind.STARTED if starts(way) else Kind.COMMAND
            yield found(text, place, way, kind, platforms=platforms,
                        hidden=self.document.hidden, unknown=unknown)  # fmt: skip

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
        if children(node.get("containers")):
            yield from self.pod(way, node)
        whole = settings.joined(node, loosely=False) if "image" in node else None
        if whole is not None:
            yield from self.image(whole, way, Kind.CRD, node)
        others = settings.by_words(node)
        for key, value in node.items():
            if whole is not None and isinstance(value, Scalar):
                continue
            step = f"{way} › {key.text}".removeprefix(" › ")
            if key.text in CONTAINERS and children(node.get("containers")):
                continue
            named = list(settings.entry(key.text, value, others))
            if key.text == "image" and isinstance(value, Scalar) and value.tag == "str":
                yield from self.image(value, step, Kind.CRD, node)
                yield from self.runs(way, node)
                for script in ("source", "script"):  # Argo's and Tekton's
                    yield from self.script(node.get(script), f"{way} › {script}")
            elif named:
                for each in named:
                    for image in self.image(each.text, f"{step}{each.step}", Kind.CRD,
                                            each.parts or node):  # fmt: skip
                        yield replace(image, reference=None, reason=each.why) if (
                            each.why and image.reference) else image  # fmt: skip
            else:
                yield from self.custom(step, value, depth + 1)


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
            for image in reader.configured(way, root):
                yield replace(image, hidden=True)
        elif kind != "CustomResourceDefinition":
            yield from reader.custom(way, root)


def commands(
    document: Document, way: str, service: Node, variables: Variables[str, str]
) -> Iterator[FoundImage]:
    """Images that the commands of a compose file's service fetch or start."""
    reader = _Reader(document, ())
    words: list[Scalar] = []
    for key in ("entrypoint", "command"):
        given = service.get(key)
        if isinstance(given, Scalar):
            yield from reader.script(given, f"{way} › {key}", dict(variables))
        words += [
            replace(word, text=substitute(word.text, variables))
            for word in children(given)
            if isinstance(word, Scalar)
        ]
    yield from reader.words(words, f"{way} › command", dict(variables))


def settings_in(text: str, file: Path) -> Iterator[FoundImage]:
    """Images that a file of settings, `NAME=value` on each line, names."""
    reader = _Reader(Document(file, Scalar(1, 1, "")), ())
    yield from reader.lines("", text, lambda n: n + 1)


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


def _variables(given: Node | None) -> dict[str, str]:
    """A container's variables that are written down, each with those before it put in."""
    known: dict[str, str] = {}
    for entry in children(given):
        value = entry.get("value")
        if isinstance(value, Scalar):
            known[text_of(entry.get("name"))] = _expanded(value.text, known)
    return known


def _expanded(text: str, variables: dict[str, str]) -> str:
    """`$(NAME)` put in as the kubelet does."""
    return _REFERENCE.sub(lambda found: variables.get(found[1], found[0]), text)


def _platforms(spec: Mapping) -> tuple[str, ...]:
    selector = spec.get("nodeSelector")
    arch = text_of(selector.get("kubernetes.io/arch")) if selector else ""
    if not arch or not arch.isalnum():
        return ()
    return (f"{text_of(selector.get('kubernetes.io/os')) or 'linux' if selector else ''}/{arch}",)
