"""What the rules look at: a scan, the containers and the shell scripts in it, and the lock."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hardtack.manifests import marks
from hardtack.manifests.compose import is_compose
from hardtack.manifests.dockerfile import instructions, is_dockerfile
from hardtack.manifests.files import read as read_text
from hardtack.manifests.grafts import untold_in
from hardtack.manifests.model import FoundImage, Kind, Scan
from hardtack.manifests.place import Place
from hardtack.manifests.reference import Reference
from hardtack.manifests.resources import CONTAINERS, pod_specs, resources
from hardtack.manifests.scan import scan
from hardtack.manifests.walking import below
from hardtack.manifests.yamlpos import Document, Scalar, children, text_of
from hardtack.manifests.yamlpos import Mapping as Node
from hardtack.policy.config import Config
from hardtack.policy.locked import Locked

_TEXTS = (".yaml", ".yml", ".json", ".sh", ".bash", ".txt", ".list", ".tpl", ".toml", ".env",
          ".service", ".container")  # fmt: skip
_DASH_C = re.compile(r"-[a-z]*c")
_SHELL = re.compile(r"#!.*\b(?:sh|bash|ash|dash)\b")
_HEREDOC = re.compile(r"[^\n]*<<-?[\"']?\w+[\"']?[ \t]*\n(.*?)\n?[^\n]*", re.DOTALL)
DEPLOYED = (Kind.CONTAINER, Kind.INIT, Kind.EPHEMERAL, Kind.VOLUME, Kind.CRD, Kind.COMPOSE,
            Kind.SETTING)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Container:
    """A container of a pod spec. `way` leads to it, `pod` is the pod spec around it."""

    document: Document
    way: str
    kind: Kind
    pod: Node
    node: Node

    @property
    def place(self) -> Place:
        return self.document.place(self.node)

    @property
    def image(self) -> str:
        return text_of(self.node.get("image"))

    @property
    def caveat(self) -> str:
        """What to add to a finding that something is missing, where a part can't be told."""
        for node in (self.node, self.pod):
            if untold := untold_in(node):
                return f" (as far as can be told: {untold[:80]} may put it in)"
        return ""

    def environment(self) -> dict[str, str]:
        """The variables that `env` sets; those taken from elsewhere are empty."""
        return {
            text_of(entry.get("name")): text_of(entry.get("value"))
            for entry in children(self.node.get("env"))
        }


@dataclass(frozen=True, eq=False)
class Script:
    """Shell commands somewhere in the deployment. `line(n)` is where its line n (from 0) stands;
    `at_run_time` tells a container's commands from what builds an image; `pipefail`: a pipe fails
    when any of its commands does."""

    file: Path
    text: str
    way: str
    line: Callable[[int], int] = field(repr=False)
    at_run_time: bool = False
    pipefail: bool = False

    def place(self, line: int) -> Place:
        return Place(self.file, self.line(line))


@dataclass(frozen=True, eq=False)
class Deployment:
    """`texts` are the files' own, for suppressions and for edits."""

    scan: Scan
    texts: Mapping[Path, str]
    config: Config = field(default_factory=Config)
    lock: Locked | None = None

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        return tuple(
            container
            for document in self.scan.documents
            for way, pod in pod_specs(document)
            for container in _containers(document, way, pod)
        )

    @cached_property
    def scripts(self) -> tuple[Script, ...]:
        return tuple(_scripts(self))

    @cached_property
    def deployed(self) -> tuple[FoundImage, ...]:
        """The images that pods and services run, base images of builds left out."""
        return tuple(image for image in self.scan.images if image.kind in DEPLOYED)

    @cached_property
    def owners(self) -> Mapping[tuple[Path, int], Container]:
        """The container by the place of its `image`."""
        found = {}
        for container in self.containers:
            if image := container.node.get("image"):
                place = container.document.place(image)
                found[place.file, place.line] = container
        return found

    def line_of(self, place: Place) -> str:
        """The line on disk, without its ending; empty where there is none."""
        lines = self._lines.get(place.file)
        if lines is None:
            lines = self._lines[place.file] = self.texts.get(place.file, "").split("\n")
        return lines[place.line - 1].rstrip("\r") if 0 < place.line <= len(lines) else ""

    @cached_property
    def _lines(self) -> dict[Path, list[str]]:
        return {}

    def third_party(self, image: FoundImage) -> bool:
        return self.config.owner(image.reference) is None


def read(
    paths: Iterable[Path], config: Config, lock: Locked | None, values: Sequence[Path] = ()
) -> Deployment:
    """The deployment that `paths` hold, its charts with the files `values` set over their own.
    Raises ManifestError for a path that doesn't exist."""
    paths = list(paths)
    found = scan(paths, helm="raw", values=values)
    # What can't be read is the scan's to report.
    files = dict.fromkeys(_files(paths)) | dict.fromkeys(
        document.file for document in found.documents if document.file.is_file()
    )
    texts = {file: text for file in files if (text := read_text(file, [])) is not None}
    if lock is not None and (text := read_text(lock.file, [])) is not None:
        texts[lock.file] = text
    return Deployment(found, texts, config, lock)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
            continue
        for file in below(path, []):  # what can't be looked at is the scan's to report
            if file.name.lower().endswith(_TEXTS) or is_dockerfile(file):
                yield file


def _containers(document: Document, way: str, pod: Node) -> Iterator[Container]:
    for field_name, kind in CONTAINERS.items():
        for number, node in enumerate(children(pod.get(field_name))):
            if isinstance(node, Node):
                step = f"{way} › {field_name}[{number}]".removeprefix(" › ")
                yield Container(document, step, kind, pod, node)


def _scripts(deployment: Deployment) -> Iterator[Script]:
    for container in deployment.containers:
        node = container.node
        hook = node.get("lifecycle", "postStart", "exec", "command")
        for commands in ((node.get("command"), node.get("args")), (hook,)):
            yield from _commands(container.document, container.way, *commands)
    for document in deployment.scan.documents:
        if is_compose(document):
            services = document.root.get("services")
            for name, service in services.items() if isinstance(services, Node) else ():
                given = service.get("entrypoint"), service.get("command")
                yield from _commands(document, f"services.{name.text}", *given)
        for way, root in resources(document):
            if text_of(root.get("kind")) == "ConfigMap":
                yield from _kept(document, way, root)
    for file, text in deployment.texts.items():
        if is_dockerfile(file):
            yield from _built(file, text)
        elif file.suffix in (".sh", ".bash"):
            yield Script(file, text, file.name, lambda n: n + 1)


def _commands(document: Document, way: str, *lists: object) -> Iterator[Script]:
    """The scripts among a container's words: those behind `sh -c`, or all words as one command."""
    words: list[Scalar] = []
    for words_of in lists:
        if isinstance(words_of, Scalar):
            yield _script(document, words_of, way)
        else:
            words += [w for w in children(words_of) if isinstance(w, Scalar)]  # type: ignore[arg-type]
    at = next((n for n, word in enumerate(words) if _DASH_C.fullmatch(word.text)), None)
    if at is not None:
        for word in words[at + 1 :]:
            yield _script(document, word, way)
    elif words:
        first = words[0].line
        text = shlex.join(marks.shown(word.text) for word in words)
        yield Script(words[0].file or document.file, text, way, lambda _: first, at_run_time=True)


def _script(document: Document, node: Scalar, way: str) -> Script:
    line = (lambda n: node.line + 1 + n) if node.style == "|" else (lambda _: node.line)
    return Script(node.file or document.file, marks.shown(node.text), way, line, at_run_time=True)


def _kept(document: Document, way: str, root: Node) -> Iterator[Script]:
    """Shell scripts that a ConfigMap keeps for containers to run."""
    data = root.get("data")
    for key, value in data.items() if isinstance(data, Node) else ():
        if isinstance(value, Scalar) and (
            key.text.endswith((".sh", ".bash")) or _SHELL.match(value.text)
        ):
            yield _script(document, value, f"{way} › data.{key.text}")


def _built(file: Path, text: str) -> Iterator[Script]:
    pipefail = False  # as the last SHELL of this stage says
    for start, name, rest in instructions(text.replace("\r\n", "\n")):
        if name in ("FROM", "SHELL"):
            pipefail = name == "SHELL" and "pipefail" in rest
        if name == "RUN" and not rest.lstrip().startswith("["):
            # A here-document is the script itself; its last line is the word that ends it.
            body = _HEREDOC.fullmatch(rest)
            text = body[1] if body else rest
            line = _offset(start + (body is not None))
            yield Script(file, text, f"{file.name} › RUN", line, pipefail=pipefail)


def _offset(start: int) -> Callable[[int], int]:
    return lambda n: start + 1 + n


def references(images: Iterable[FoundImage]) -> dict[Reference, list[FoundImage]]:
    """The places of each image that can be told."""
    found: dict[Reference, list[FoundImage]] = {}
    for image in images:
        if image.reference is not None:
            found.setdefault(image.reference, []).append(image)
    return found
