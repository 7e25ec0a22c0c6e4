"""What a deployment takes from elsewhere, charts above all: what that names can't be told from its
files."""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from hardtack.manifests import kustomize, values
from hardtack.manifests.helm import Chart, Charts, is_archive_of, is_named
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.place import Problem
from hardtack.manifests.resources import resources
from hardtack.manifests.yamlpos import Document, Mapping, Node, Scalar, children, parse, text_of


def dependencies(about: Document, chart: Chart, charts: Charts) -> Iterator[FoundImage]:
    """Subcharts that `about`, the chart's Chart.yaml or requirements.yaml, asks for and charts/
    doesn't hold, but for those that the values switch off."""
    for number, wanted in enumerate(children(about.root.get("dependencies"))):
        name = wanted.get("name")
        if not isinstance(name, Scalar) or _is_there(chart, charts, name.text):
            continue
        if _switched_off(wanted, chart):
            continue
        reason = (f"cannot tell: this chart isn't in charts/, which `helm dependency build "
                  f"{chart.directory}` fills")  # fmt: skip
        yield FoundImage(name.text, None, about.place(name), f"dependencies[{number}]", Kind.CHART,
                         reason=reason)  # fmt: skip


def _is_there(chart: Chart, charts: Charts, name: str) -> bool:
    below = chart.directory / "charts"
    if not below.is_dir():
        return False
    for each in below.iterdir():
        inner = charts.of(each / "Chart.yaml") if each.is_dir() else None
        if each.name == name or (inner and inner is not chart and inner.name == name):
            return True
        if each.suffix == ".tgz" and is_archive_of(each.name, name):
            return True
    return False


def _switched_off(wanted: Node, chart: Chart) -> bool:
    """Whether Helm leaves the subchart out: by the first path of its condition that has a value,
    else by its tags, which the values of the outermost chart switch."""
    condition = text_of(wanted.get("condition"))
    named = [_first(condition, given) for given in chart.values] if condition else []
    if any(isinstance(value, bool) for value in named):
        return True not in named
    top = chart
    while top.outer:
        top = top.outer
    given = top.values[0].get("tags") if top.values else None
    tags = [text_of(tag) for tag in children(wanted.get("tags"))]
    switches = [given[tag] for tag in tags if tag in given] if isinstance(given, dict) else []
    return False in switches and True not in switches


def _first(condition: str, given: dict[str, Any]) -> object:
    for path in condition.split(","):
        value: Any = given
        for part in path.strip().split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def packed(
    documents: Collection[Document], problems: list[Problem]
) -> Iterator[tuple[str, IO[bytes], Path]]:
    """(name, archive, the file that it stands in) of charts that k3s's HelmCharts hold themselves;
    the name is the HelmChart's."""
    for document in documents:
        for _, root in resources(document):
            content = root.get("spec", "chartContent")
            if text_of(root.get("kind")) != "HelmChart" or not isinstance(content, Scalar):
                continue
            try:
                archive = base64.b64decode("".join(content.text.split()), validate=True)
            except (binascii.Error, ValueError) as error:
                text = f"left out: chartContent is no base64: {error}"
                problems.append(Problem(document.place(content), text))
                continue
            yield text_of(root.get("metadata", "name")), io.BytesIO(archive), document.file


# Who takes a chart from a repository: where its resource names the chart, and values as a string.
_CHARTS = {
    "helm.cattle.io": ("k3s", ("spec",), ("chart",), ("valuesContent",)),
    "helm.toolkit.fluxcd.io": ("Flux", ("spec", "chart", "spec"), ("chart",), ("values",)),
    "argoproj.io": ("Argo CD", ("spec", "source"), ("chart",), ("helm", "values")),
}


def charts_of(document: Document, known: Collection[str]) -> Iterator[FoundImage]:
    """Images of charts that k3s (HelmChart, HelmChartConfig), Flux (HelmRelease) or Argo CD
    (Application) installs: those that values in a string name, and that the rest can't be told
    unless a chart of the name is among those that were read, `known`."""
    group = text_of(document.root.get("apiVersion")).partition("/")[0]
    if group not in _CHARTS:
        return
    who, above, chart_at, values_at = _CHARTS[group]
    for way, root in resources(document):
        sources = [root.get(*above), *children(root.get("spec", "sources"))]
        for source in sources:
            content = source.get(*values_at) if source else None
            if isinstance(content, Scalar):
                yield from _set_values(document, f"{way} › {values_at[-1]}", content)
            chart = source.get(*chart_at) if source else None
            if isinstance(chart, Scalar) and not is_named(chart.text, known):
                reason = (f"cannot tell: {who} takes this chart from a repository: scan its files "
                          "too (helm pull --untar)")  # fmt: skip
                yield FoundImage(chart.text, None, document.place(chart), f"{way} › chart",
                                 Kind.CHART, hidden=document.hidden, reason=reason)  # fmt: skip


def kustomized(
    document: Document, known: Collection[str], read: Collection[Path]
) -> Iterator[FoundImage]:
    """What a kustomization takes from elsewhere: charts, of which none is among those that were
    read, `known`, and resources that aren't among the files, `read`."""
    for number, chart in enumerate(children(document.root.get("helmCharts"))):
        way = f"helmCharts[{number}]"
        inline = chart.get("valuesInline")
        if isinstance(inline, Mapping):
            for image in values.images(replace(document, root=inline)):
                yield replace(image, path=f"{way} › valuesInline › {image.path}")
        name = chart.get("name")
        if isinstance(name, Scalar) and not is_named(name.text, known):
            what = ("kustomize takes this chart from a repository: scan its files too "
                    "(helm pull --untar)")  # fmt: skip
            yield _elsewhere(document, name, way, what)
    for field in kustomize.TAKEN_IN:
        for number, node in enumerate(children(document.root.get(field))):
            if isinstance(node, Scalar) and not _is_read(document.file.parent, node.text, read):
                what = "kustomize takes this from elsewhere: scan its files too"
                yield _elsewhere(document, node, f"{field}[{number}]", what)


def _elsewhere(document: Document, node: Scalar, way: str, what: str) -> FoundImage:
    reason = f"cannot tell: {what}"
    return FoundImage(node.text, None, document.place(node), way, Kind.CHART, reason=reason)


def included(document: Document, way: str, node: Scalar) -> FoundImage:
    """What a compose file takes in and that isn't there."""
    return _elsewhere(document, node, way, "compose takes in this file, which isn't there")


def _is_read(here: Path, named: str, read: Collection[Path]) -> bool:
    """Whether a file or directory of a kustomization is among what was read; an empty directory
    names nothing."""
    path = Path(os.path.realpath(here / named))
    return path in read or any(path in file.parents for file in read)


def _set_values(document: Document, way: str, content: Scalar) -> Iterator[FoundImage]:
    first = content.line + 1 if content.style == "|" else content.line
    inner, _ = parse(content.text, document.file, lines=lambda n: min(first + n, content.end_line))
    for each in inner:
        if isinstance(each.root, Mapping):
            for image in values.images(each):
                path = f"{way} › {image.path}"
                yield replace(image, path=path, hidden=True)
