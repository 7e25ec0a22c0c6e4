"""What a scan adds once it has read a chart's files: values, packed subcharts, Helm's own view."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass, field, replace
from pathlib import Path

from hardtack.core.errors import ManifestError
from hardtack.manifests import files, helm_render, values
from hardtack.manifests.build import NO_DIGEST, expand, found
from hardtack.manifests.embedded import NAMES_AN_IMAGE
from hardtack.manifests.flatten import Flat, Inserted
from hardtack.manifests.functions import to_yaml
from hardtack.manifests.helm import Chart, Charts, names_below
from hardtack.manifests.model import FoundImage, Kind, PullPolicy
from hardtack.manifests.place import Place, Problem, Severity
from hardtack.manifests.podspecs import CONTAINERS, fragment
from hardtack.manifests.reference import Reference
from hardtack.manifests.yamlpos import parse

_IMAGE = re.compile(r"\s*(?:- )?image:\s*[\"']?([^\s\"'#{]+)[\"']?\s*(?:#.*)?")


def inserted(parts: Several[Inserted], file: Path, chart: Chart) -> Iterator[FoundImage]:
    """Images in text that actions of the template `file` put in: at the lines of the named
    templates that write them, else at the actions' own."""
    for part in parts:
        here = Place(file, part.line)
        path = f"{{{{ {part.action.partition('|')[0].strip()[:60]} }}}}"
        kind = CONTAINERS.get(part.below, Kind.CONTAINER)
        if part.reason:
            reason = f"cannot tell: {part.reason}"
            yield FoundImage(path, None, here, path, kind, reason=reason)
            continue
        documents, problems = parse(part.text, file)
        wrong = next((p for p in problems if p.severity is Severity.ERROR), None)
        if wrong and NAMES_AN_IMAGE.search(part.text):
            reason = f"cannot tell: in what it puts in, line {wrong.place.line} is {wrong.message}"
            yield FoundImage(path, None, here, path, kind, reason=reason)
        for document in documents:
            named = replace(document, path=path, template=True)
            for image in fragment(named, part.below):
                yield _standing(image, part, here, chart)


def joined(
    images: Several[FoundImage],
    parts: Several[FoundImage],
    texts: Several[Inserted],
    file: Path,
) -> list[FoundImage]:
    """The images of a template with the `parts` that its actions put in by `texts`: each once, at
    the place and by the way of the part, with the policy that the container has as a whole."""
    rest = list(parts)
    found: list[FoundImage] = []
    for image in images:
        part = next((p for p in rest if p.place == image.place and p.raw == image.raw), None)
        if part is None:
            found.append(replace(image, via=_via(image.place, texts, file)))
            continue
        rest.remove(part)
        kind = part.kind if image.kind is Kind.CRD else image.kind
        found.append(replace(image, kind=kind, path=part.path, via=part.via))
    return found + rest


def unread(flat: Flat, file: Path, images: Several[FoundImage]) -> Iterator[FoundImage]:
    """Images of the lines that `images` has none of, in a template that can't be read as a whole
    with all its conditions' branches."""
    known = {image.place.line for image in images if image.place.file == file}
    why = "this part of the template can't be read raw"
    for number, line in enumerate(flat.text.split("\n"), 1):
        written = _IMAGE.match(line) if number not in known else None
        for raw, unknown in expand(written[1], flat.holes) if written else ():
            if not raw.endswith((NO_DIGEST, "@")):
                image = found(raw, Place(file, number), file.name, Kind.CONTAINER, unknown=unknown)
                yield replace(image, policy=PullPolicy(None, True, why))


def _via(place: Place, texts: Several[Inserted], file: Path) -> Place | None:
    """Where the template takes in what stands in another file."""
    for text in texts if place.file != file else ():
        for marks in text.origins.lines:
            if any((m.place.file, m.place.line) == (place.file, place.line) for m in marks):
                return Place(file, text.line)
    return None


def _standing(image: FoundImage, part: Inserted, here: Place, chart: Chart) -> FoundImage:
    """An image of inserted text, whose place is one in that text, at its place on disk."""
    origin = part.origins.of(image.place.line - 1, image.place.column)
    if origin is None or (origin.file, origin.line) == (here.file, here.line):
        return replace(image, place=here)
    file = here.file
    shown = file.relative_to(chart.directory) if file.is_relative_to(chart.directory) else file
    return replace(image, place=origin, via=here, path=f"{shown}:{here.line} › {image.path}")


def in_values_only(
    file: Path, chart: Chart, images: Several[FoundImage], problems: list[Problem]
) -> Iterator[FoundImage]:
    """Images of a values file that no template of the chart, as far as read, resolves to, and no
    outer chart's values are set over."""
    text = files.read(file, problems)
    documents, wrong = parse(text, file) if text else ([], [])
    problems += wrong
    told = [
        image.reference
        for image in images
        if image.reference and chart.directory in image.place.file.parents
    ]
    in_force = _in_force(chart) if chart.outer and file.name == "values.yaml" else None
    for document in documents:
        for image in values.images(document):
            named = values.reference_of(image)
            if in_force is not None and image.raw not in in_force:
                continue
            if named is None or not any(_is_of(named, each) for each in told):
                yield image


def _in_force(chart: Chart) -> set[str]:
    """What the chart's values name with all that outer charts set over them."""
    found = set()
    for each in chart.values:
        documents, _ = parse(to_yaml(each), chart.directory)
        found |= {image.raw for document in documents for image in values.images(document)}
    return found


def _is_of(named: Reference, told: Reference) -> bool:
    """Whether a template makes `told` of what the values name: by another registry perhaps, with a
    tag of its own where they give none, or less its `v`."""
    path, whole = (each.repository.removeprefix("library/") for each in (named, told))
    if whole != path and not whole.endswith(f"/{path}"):
        return False
    if named.digest and named.digest == told.digest:
        return True
    return named.tag is None or named.tag.lstrip("v") == (told.tag or "").lstrip("v")


@dataclass
class Rendering:
    """Charts as Helm renders them, and the templates that were seen in its output."""

    helm: str
    charts: Charts
    taken_in: frozenset[Path] = frozenset()  # files that ConfigMaps' templates read
    problems: list[Problem] = field(default_factory=list)
    done: set[Path] = field(default_factory=set)  # directories of the charts that Helm rendered

    def images(self, raw: Several[FoundImage], *, strict: bool) -> list[FoundImage]:
        """What the charts name when rendered, at the lines of their templates. A chart that
        Helm refuses is a problem, or with `strict` a ManifestError."""
        found: list[FoundImage] = []
        tops = {chart.directory: chart for chart in self.charts.known.values()
                if chart and chart.outer is None and chart.about.get("Type") != "library"
                }  # fmt: skip
        for directory, chart in sorted(tops.items()):
            try:
                sections = helm_render.render(self.helm, directory)
            except ManifestError as error:
                if strict:
                    raise
                self.problems.append(
                    Problem(Place(directory / "Chart.yaml", 1), str(error), Severity.WARNING)
                )
                continue
            self.done.add(directory)
            for section in sections:
                found += self._section(section, chart, raw)
        return found

    def _section(
        self, section: helm_render.Section, chart: Chart, raw: Several[FoundImage]
    ) -> list[FoundImage]:
        file = self._file(chart, section.template)
        text = files.read(file, self.problems) if file.is_file() else None
        own = [i for i in raw if file in (i.place.file, i.via and i.via.file)]
        near = own + [i for i in raw if i.place.file in self.taken_in]
        found, problems = helm_render.images(section, file, text or "", near)
        self.problems += problems
        return found

    def _file(self, chart: Chart, template: str) -> Path:
        """The file on disk of a template named as Helm does, by charts' names or aliases."""
        parts = template.split("/")
        if parts[0] != "charts" or len(parts) < 3:
            return chart.directory / template
        for inner in self.charts.known.values():
            if (
                inner
                and inner.outer is chart
                and (parts[1] in (inner.directory.name, *names_below(chart, inner.name)))
            ):
                return self._file(inner, "/".join(parts[2:]))
        return chart.directory / template


def merged(raw: Several[FoundImage], rendered: Several[FoundImage]) -> list[FoundImage]:
    """Both, each image once at a line; a line that Helm resolves is no longer "cannot tell"."""
    known = {(image.place.file, image.place.line, image.reference) for image in raw}
    told = {(image.place.file, image.place.line) for image in rendered if image.reference}
    kept = [
        image for image in raw
        if image.reference or (image.place.file, image.place.line) not in told
    ]  # fmt: skip
    return kept + [
        image for image in rendered
        if (image.place.file, image.place.line, image.reference) not in known
    ]  # fmt: skip
