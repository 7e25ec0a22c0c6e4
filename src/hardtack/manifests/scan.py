"""Every image that files and directories name."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from hardtack.core.errors import ManifestError
from hardtack.manifests import (
    absent,
    archives,
    chains,
    charts,
    compose,
    configured,
    dockerfile,
    embedded,
    files,
    helm_render,
    kustomize,
    lists,
    overlays,
    podspecs,
    programs,
    shell,
    started,
    template,
    templates,
    units,
)
from hardtack.manifests.build import found
from hardtack.manifests.helm import Chart, Charts, faults
from hardtack.manifests.holes import Hole
from hardtack.manifests.model import FoundImage, Kind, Scan
from hardtack.manifests.overlays import Overlay
from hardtack.manifests.place import Place, Problem, Severity
from hardtack.manifests.walking import below, special
from hardtack.manifests.yamlpos import Document, Node, Scalar, parse

_SCRIPTS = (".sh", ".bash")
_JSON_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?')


def scan(
    paths: Iterable[Path], *, helm: Literal["rendered", "raw", "auto"] = "raw",
    values: Sequence[Path] = (),
) -> Scan:  # fmt: skip
    """What `paths` (files, or directories walked in order) name.

    Helm templates are read raw, with values resolved; rendered by Helm in their place; or, with
    `auto`, both where there is a Helm, else raw. `values` are files whose values are set over those
    of the charts, in place of the values files that lie beside these. Raises ManifestError when a
    path doesn't exist or values can't be read, or where a rendered scan lacks Helm or is refused
    by it.
    """
    program = helm_render.program(os.environ) if helm != "raw" else None
    if helm == "rendered" and program is None:
        raise ManifestError(
            "A rendered scan needs Helm, and there is none.",
            remedy="Put helm on the PATH, set HELM to it, or scan raw: --helm raw.",
        )
    with tempfile.TemporaryDirectory(prefix="hardtack-charts-") as scratch:
        charts = Charts(overlays.read_values(values))
        work = _Scan(archives.Unpacked(Path(scratch)), charts, tuple(values))
        for file, named in _files(paths, work.problems):
            work.read(file, named=named)
        work.finish(program, strict=helm == "rendered")
    images = [each for image in work.images for each in work.kustomizations.applied(image)]
    images.sort(key=lambda image: (work.order(image.place.file), image.place.line))
    unique = {(i.place, i.reference, i.raw, i.path): i for i in images}
    problems = dict.fromkeys(work.problems)
    return Scan(tuple(unique.values()), tuple(problems), tuple(work.documents), len(work.seen))


def _files(paths: Iterable[Path], problems: list[Problem]) -> Iterator[tuple[Path, bool]]:
    """(file, whether it was named itself), each file once."""
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise ManifestError(
                f"There is no {path}.",
                remedy="Give files or directories that are there (ready: --deployment).",
            )
        if kind := special(path):
            text = f"it's {kind}, no file or directory: scan a file with what comes out of it"
            problems.append(Problem(Place(path, 1), text))
            continue
        for file in [path] if path.is_file() else below(path, problems):
            if file not in seen:
                seen.add(file)
                yield file, file == path


@dataclass
class _Scan:
    unpacked: archives.Unpacked
    charts: Charts = field(default_factory=Charts)
    values: tuple[Path, ...] = ()  # files that the charts are given
    images: list[FoundImage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    kustomizations: kustomize.Kustomizations = field(default_factory=kustomize.Kustomizations)
    included: list[tuple[Document, str, Scalar]] = field(default_factory=list)  # by compose files
    taken_in: set[Path] = field(default_factory=set)  # files that ConfigMap templates read
    seen: dict[Path, int] = field(default_factory=dict)

    def order(self, file: Path) -> int:
        """How many files were read before this one; those not read come with their chart's."""
        return self.seen.get(file, len(self.seen))

    def read(self, file: Path, *, named: bool = False) -> None:
        """What the file names; one that isn't `named` itself only where it's of a known kind."""
        name = file.name
        if archives.is_subchart(file) or archives.is_chart(file):
            self._packed(file)
            return
        chart = self.charts.of(file)
        rendered = chart.renders(file) if chart else None
        if rendered is False:
            return  # what includes it is read with it
        ending = file.suffix.lower()  # k3s takes UPPER.YAML too
        yaml = ending in files.MANIFESTS or name in kustomize.FILES or bool(rendered)
        yaml = yaml or (ending in (".tpl", ".txt") and file in self.taken_in)
        script = ending in _SCRIPTS and not rendered
        known = yaml or script or file.suffix in units.SUFFIXES
        if not (named or known or dockerfile.is_dockerfile(file) or lists.is_list(file)):
            return
        self.seen[file] = len(self.seen)
        text = files.read(file, self.problems)
        if text is None:
            return
        if rendered:
            self._yaml(text, file)
        elif dockerfile.is_dockerfile(file):
            self.images += dockerfile.images(text, file)
        elif lists.is_list(file):
            self.images += lists.images(text, file)
        elif script or text.startswith("#!"):
            for line, command, raw, platform in shell.pulled(text):
                place = Place(file, line + 1)
                platforms = (platform,) if platform else ()
                kind = Kind.STARTED if programs.starts(command) else Kind.COMMAND
                self.images.append(found(raw, place, command, kind, platforms=platforms))
            self._applied(text, file)
        elif file.suffix in units.SUFFIXES:
            self.images += units.images(text, file)
        elif yaml:
            self._yaml(text, file)
        else:
            self._note(file, "left out: no kind of deployment file is known by this name")

    def _note(self, file: Path, message: str, severity: Severity = Severity.NOTE) -> None:
        self.problems.append(Problem(Place(file, 1), message, severity))

    def _yaml(self, text: str, file: Path) -> None:
        if file.suffix.lower() == ".json" and ("//" in text or "/*" in text):
            text = _without_comments(text)
        chart = self.charts.of(file)
        if chart and file.parent == chart.directory and file.name.startswith("values"):
            return  # judged once the templates are read
        if chart and (where := chart.not_installed(file)):
            self._note(where, "left out: Helm installs nothing of it")
            return
        if chart is None or "{{" not in text:
            documents, problems = parse(_without_definitions(text), file)
            self.problems += problems
            self.images += self._documents(documents, text, file)
            if chart and file in chart.asks_in:
                for document in documents:
                    self.images += absent.dependencies(document, chart, self.charts)
            return
        nodes = template.parse(text)
        if "templates" in file.relative_to(chart.directory).parts:
            self.problems += faults(nodes, file)
        for each in templates.read(nodes, file, chart):
            self.problems += each.problems
            self.taken_in.update(each.taken_in())
            flat = each.flat
            images = self._documents(each.documents, flat.text, file, flat.holes, flat.grafts)
            self.images += each.images(images)

    def _documents(
        self,
        documents: list[Document],
        text: str,
        file: Path,
        holes: tuple[Hole, ...] = (),
        grafts: tuple[Node, ...] = (),
    ) -> list[FoundImage]:
        """The images of a file's documents, and of those inside their strings."""
        images: list[FoundImage] = []
        source = text.split("\n")
        for document in documents:
            if file.name in kustomize.FILES:
                images += self._kustomized(document)
                continue
            for each in (document, *embedded.documents(document, source, self.problems, grafts)):
                self.documents.append(each)
                if compose.is_compose(each):
                    images += compose.images(each, _environment(file))
                    if not each.hidden:
                        self.included += [(each, *there) for there in compose.takes_in(each)]
                else:
                    images += podspecs.images(each, holes)
        return images

    def _applied(self, text: str, file: Path) -> None:
        """Manifests in a script's here-documents."""
        for line, body in chains.heredocs(text):
            if re.search(r"^\s*kind:", body, re.MULTILINE):
                documents, _ = parse(body, file, lines=partial(int.__add__, line + 1))
                documents = [replace(d, hidden=True, path="<<") for d in documents]
                self.images += self._documents(documents, text, file)

    def _kustomized(self, document: Document) -> Iterator[FoundImage]:
        self.documents.append(document)
        self.kustomizations.add(document)
        yield from kustomize.generated(document)
        for patch in kustomize.patches(document):
            self.documents.append(patch)
            yield from podspecs.images(patch)
        for file in kustomize.environments(document):
            text = files.read(file, self.problems) if file.is_file() else None
            if text and file not in self.seen:
                self.seen[file] = len(self.seen)
                yield from started.settings_in(text, file)

    def _packed(self, archive: Path) -> None:
        outer = self.charts.of(archive) if archives.is_subchart(archive) else None
        self._unpacked(self.unpacked.charts(archive, self.problems), outer)

    def _unpacked(self, directories: Sequence[Path], outer: Chart | None) -> None:
        for directory in directories:
            self.charts.read(directory, outer)
            for file in below(directory, self.problems):
                self.read(file)

    def finish(self, program: str | None, *, strict: bool) -> None:
        """What can be told only when every file is read."""
        done = set(map(os.path.realpath, self.seen))
        for document, way, named in self.included:  # which grows, as those read include others
            self._include(document, way, named, done)
        held: dict[str, list[Path]] = {}  # charts by the HelmChart that holds them itself
        for name, content, file in list(absent.packed(self.documents, self.problems)):
            held[name] = self.unpacked.content(content, file, self.problems)
            self._unpacked(held[name], None)
        self._rendered(program, strict=strict)
        self._set_over(held, program)
        self._in_values()
        told = [image.place for image in self.images]
        self.images += configured.images(self.documents, told)
        known = self.charts.names()
        read = {Path(os.path.realpath(file)) for file in self.seen}
        for document in self.documents:
            self.images += absent.charts_of(document, known)
            if document.file.name in kustomize.FILES:
                self.images += absent.kustomized(document, known, read)
        self.problems += self.charts.problems
        self._name_archives()

    def _include(self, document: Document, way: str, named: Scalar, done: set[str]) -> None:
        """Reads a file that a compose file takes in, but one that was, or tells that it isn't
        there."""
        file = Path(os.path.normpath(document.file.parent / named.text))
        if "://" in named.text or not file.is_file():
            self.images.append(absent.included(document, way, named))
        elif (real := os.path.realpath(file)) not in done:
            done.add(real)
            self.read(file, named=True)

    def _rendered(self, program: str | None, *, strict: bool) -> None:
        """Reads what ConfigMaps take in, and has the charts rendered."""
        for file in sorted(self.taken_in - self.seen.keys()):
            self.read(file)
        self.images = [
            replace(image, hidden=image.hidden or image.place.file in self.taken_in)
            for image in self.images
        ]
        self.documents = [
            replace(document, hidden=document.hidden or document.file in self.taken_in)
            for document in self.documents
        ]
        if program:
            rendering = charts.Rendering(program, self.charts, frozenset(self.taken_in))
            rendered = rendering.images(self.images, strict=strict)
            rendered = [i for i in rendered if (i.via or i.place).file in self.seen]
            if strict:
                self.images = [i for i in self.images if not _is_template(i, rendering.done)]
            self.images = charts.merged(self.images, rendered)
            self.problems += rendering.problems

    def _set_over(self, held: dict[str, list[Path]], program: str | None) -> None:
        """Adds what charts name with values that something else than a parent sets over theirs."""
        tops = self.charts.outermost()
        for overlay in overlays.set_by(self.documents):
            inside = held.get(overlay.chart)
            for chart in self.charts.named(overlay.chart) if inside is None else (
                chart for chart in tops if chart.directory in inside
            ):  # fmt: skip
                self._again(chart, overlay, program)
        for chart in tops if not self.values else ():
            for file in overlays.beside(chart.directory):
                self._again(chart, Overlay("", file.name, files=(file.name,)), program)

    def _again(self, chart: Chart, overlay: Overlay, program: str | None) -> None:
        """Adds what the chart names beyond that with the overlay's values set over its own."""
        given = [chart.directory / name for name in overlay.files]
        try:
            values = overlays.read_values([file for file in given if file.is_file()])
        except ManifestError:  # told where the file is read
            return
        values = overlays.over(values, overlay.values)
        if not values:
            return
        inner = _Scan(self.unpacked, Charts(values))
        for file in below(chart.directory, []):
            inner.read(file)
        inner._rendered(program, strict=False)
        known = {(image.place, image.reference, image.raw) for image in self.images}
        for image in inner.images:
            if (image.place, image.reference, image.raw) not in known:
                self.images.append(replace(image, path=f"{image.path}, with {overlay.by}"))

    def _in_values(self) -> None:
        """Adds what values files name and no template resolves to."""
        for file in list(self.seen):
            chart = self.charts.of(file) if file.name.startswith("values") else None
            if chart and file.parent == chart.directory:
                if self.values and file.name != "values.yaml" and file not in self.values:
                    continue
                self.images += self._only_in(file, chart)
        for chart in self.charts.outermost():
            for file in self.values:
                if file not in self.seen:
                    self.images += self._only_in(file, chart)

    def _only_in(self, file: Path, chart: Chart) -> Iterator[FoundImage]:
        return charts.in_values_only(
            file, chart, self.images, self.problems, given=bool(self.values)
        )

    def _name_archives(self) -> None:
        """Files out of packed charts are named as paths below the archive."""
        unpacked = self.unpacked
        if not unpacked.archives:
            return
        self.images = [replace(i, place=unpacked.place(i.place)) for i in self.images]
        self.problems = [replace(p, place=unpacked.place(p.place)) for p in self.problems]
        self.documents = [replace(d, file=unpacked.name(d.file)) for d in self.documents]
        for document in self.documents:
            if document.template:  # which a packed chart's named templates may write a part of
                unpacked.name_nodes(document.root)
        self.seen = {unpacked.name(file): at for file, at in self.seen.items()}


def _without_comments(text: str) -> str:
    """JSON with `//` and `/* */` blanked out, its lines and columns as they were."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0])

    return _JSON_COMMENT.sub(blank, text)


def _without_definitions(text: str) -> str:
    """The text with its CustomResourceDefinitions left blank: long ones, which name no image."""
    if "\nkind: CustomResourceDefinition" not in f"\n{text}":
        return text
    parts = re.split(r"(?m)(^---.*$)", text)
    return "".join(
        "\n" * part.count("\n")
        if re.search(r"(?m)^kind: CustomResourceDefinition\s*$", part)
        else part
        for part in parts
    )


def _is_template(image: FoundImage, done: set[Path]) -> bool:
    """Whether a raw finding stands in a template of a chart that Helm rendered."""
    parents = image.place.file.parents
    return any(top in parents for top in done) and any(one.name == "templates" for one in parents)


def _environment(file: Path) -> dict[str, str]:
    """The variables of the `.env` beside a compose file."""
    beside = file.parent / ".env"
    try:
        lines = beside.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
