"""What a scan adds once it has read a chart's files: values, packed subcharts, Helm's own view."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.core.errors import ManifestError
from hardtack.manifests import files, helm_render, values
from hardtack.manifests.functions import to_yaml
from hardtack.manifests.helm import Chart, Charts, names_below
from hardtack.manifests.model import FoundImage
from hardtack.manifests.place import Place, Problem, Severity
from hardtack.manifests.reference import Reference
from hardtack.manifests.yamlpos import parse


def in_values_only(
    file: Path, chart: Chart, images: Several[FoundImage], problems: list[Problem], *,
    given: bool,
) -> Iterator[FoundImage]:  # fmt: skip
    """Images of a values file that no template of the chart, as far as read, resolves to, and that
    no outer chart's values, or those `given`, are set over."""
    text = files.read(file, problems)
    documents, wrong = parse(text, file) if text else ([], [])
    problems += wrong
    told = [
        image.reference
        for image in images
        if image.reference and chart.directory in image.place.file.parents
    ]
    is_own = file == chart.directory / "values.yaml"
    in_force = _in_force(chart) if is_own and (chart.outer or given) else None
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
        for chart in self.charts.outermost():
            directory = chart.directory
            if chart.about.get("Type") == "library":
                continue
            try:
                sections = helm_render.render(self.helm, directory, values=self.charts.given)
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
