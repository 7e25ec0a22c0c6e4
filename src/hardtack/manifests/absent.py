"""Charts that a deployment takes from a repository: what they name can't be told from its files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hardtack.manifests import values
from hardtack.manifests.helm import Chart, Charts
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.podspecs import resources
from hardtack.manifests.yamlpos import Document, Mapping, Scalar, children, parse, text_of


def dependencies(about: Document, chart: Chart, charts: Charts) -> Iterator[FoundImage]:
    """Subcharts that `about`, the chart's Chart.yaml, asks for and charts/ doesn't hold, but for
    those that the chart's own values switch off."""
    for number, wanted in enumerate(children(about.root.get("dependencies"))):
        name = wanted.get("name")
        if not isinstance(name, Scalar) or _is_there(chart, charts, name.text):
            continue
        if _switched_off(text_of(wanted.get("condition")), chart.values):
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
        if each.suffix == ".tgz" and _is_archive_of(each.name, name):
            return True
    return False


def _switched_off(condition: str, given: Sequence[dict[str, Any]]) -> bool:
    """Whether the first path of `condition` that has a value is false, in all of the values."""
    return bool(condition) and all(_first(condition, each) is False for each in given)


def _first(condition: str, given: dict[str, Any]) -> object:
    for path in condition.split(","):
        value: Any = given
        for part in path.strip().split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def k3s_charts(document: Document, known: Collection[str]) -> Iterator[FoundImage]:
    """Images of k3s's HelmChart and HelmChartConfig: those that its values name, and that the rest
    can't be told unless a chart of the name is among those that were read, `known`."""
    if not text_of(document.root.get("apiVersion")).startswith("helm.cattle.io/"):
        return
    for way, root in resources(document):
        content = root.get("spec", "valuesContent")
        if isinstance(content, Scalar):
            yield from _set_values(document, way, content)
        chart = root.get("spec", "chart")
        if isinstance(chart, Scalar) and not _is_known(chart.text, known):
            reason = ("cannot tell: k3s takes this chart from a repository: scan its files too "
                      "(helm pull --untar)")  # fmt: skip
            yield FoundImage(chart.text, None, document.place(chart), f"{way} › chart", Kind.CHART,
                             hidden=document.hidden, reason=reason)  # fmt: skip


def _set_values(document: Document, way: str, content: Scalar) -> Iterator[FoundImage]:
    first = content.line + 1 if content.style == "|" else content.line
    inner, _ = parse(content.text, document.file, lines=lambda n: min(first + n, content.end_line))
    for each in inner:
        if isinstance(each.root, Mapping):
            for image in values.images(each):
                path = f"{way} › valuesContent › {image.path}"
                yield replace(image, path=path, hidden=True)


def _is_known(chart: str, known: Collection[str]) -> bool:
    """`chart` is a name, `repository/name`, or the address of an archive `name-1.2.3.tgz`."""
    last = chart.rstrip("/").rpartition("/")[2]
    return any(last == name or _is_archive_of(last, name) for name in known)


def _is_archive_of(archive: str, name: str) -> bool:
    """By Helm's names, `name-1.2.3.tgz`: what follows the name is a version."""
    return re.match(re.escape(name) + r"-v?[0-9]", archive) is not None
