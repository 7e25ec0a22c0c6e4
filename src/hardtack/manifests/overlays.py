"""Values that something sets over those of a chart: a file, or what installs it in the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import ManifestError
from hardtack.manifests import files
from hardtack.manifests.place import Problem, Severity
from hardtack.manifests.resources import resources
from hardtack.manifests.yamlpos import Document, Mapping, Node, Scalar, children, parse, text_of

_STEP = re.compile(r"(?:\\.|[^.\\])+")  # of `a.b\.c`


@dataclass(frozen=True)
class Overlay:
    """`values` over those of the chart that `chart` names, by name or by path (or its HelmChart's
    name, where that holds the chart itself); `files` are values files below that chart. `by` says
    who sets them."""

    chart: str
    by: str
    values: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()


def read_values(paths: Sequence[Path]) -> dict[str, Any]:
    """What values files set together, the last over the others. Raises ManifestError."""
    values: dict[str, Any] = {}
    for path in paths:
        problems: list[Problem] = []
        text = files.read(path, problems)
        documents, wrong = parse(text, path) if text is not None else ([], [])
        for problem in [*problems, *wrong]:
            if text is None or problem.severity is Severity.ERROR:
                raise ManifestError(
                    f"Values can't be read: {problem}.", remedy="Give a file that Helm would take."
                )
        plain = documents[0].root.plain() if documents else {}
        if plain is not None and not isinstance(plain, dict):
            raise ManifestError(
                f"{path} is no values file: expected keys with values, found {plain!r:.40}.",
                remedy="Give a file that Helm would take.",
            )
        values = over(values, plain or {})
    return values


def over(own: dict[str, Any], given: dict[str, Any], *, null_counts: bool = True) -> dict[str, Any]:
    """`own` with what is `given` set over it, as Helm does: null takes a key away, unless it
    doesn't count, as what a parent gives its subchart."""
    both = dict(own)
    for key, value in given.items():
        mine = both.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            both[key] = over(mine, value, null_counts=null_counts)
        elif null_counts or value is not None or key not in both:
            both[key] = value
    return both


def beside(chart: Path) -> Iterator[Path]:
    """Values files that lie beside a chart's own: those of its boxes, or of its stages."""
    for file in sorted(chart.glob("values*")):
        if file.suffix in (".yaml", ".yml") and file.name != "values.yaml" and file.is_file():
            yield file


def set_by(documents: Sequence[Document]) -> Iterator[Overlay]:
    """What k3s (HelmChart, HelmChartConfig), Flux (HelmRelease), Argo CD (Application) and
    kustomize (helmCharts) set over the values of charts."""
    k3s: dict[str, Overlay] = {}
    configs: list[tuple[str, Overlay]] = []
    for document in documents:
        yield from _kustomized(document)
        for way, root in resources(document):
            kind, group = text_of(root.get("kind")), text_of(root.get("apiVersion"))
            if group.startswith("helm.cattle.io/"):
                name = text_of(root.get("metadata", "name"))
                spec = root.get("spec")
                values = over(_text(spec, "valuesContent"), _dotted(_pairs(spec, "set")))
                overlay = Overlay(text_of(root.get("spec", "chart")) or name, way, values)
                if kind == "HelmChart":
                    k3s[name] = overlay
                else:
                    configs.append((name, overlay))
            elif group.startswith("helm.toolkit.fluxcd.io/"):
                chart = text_of(root.get("spec", "chart", "spec", "chart"))
                yield Overlay(chart, way, _plain(root.get("spec", "values")))
            elif group.startswith("argoproj.io/"):
                yield from _argo(way, root.get("spec", "template", "spec") or root.get("spec"))
    yield from k3s.values()
    for name, config in configs:
        if installed := k3s.get(name):
            values = over(installed.values, config.values)
            yield Overlay(installed.chart, config.by, values)


def _argo(way: str, spec: Node | None) -> Iterator[Overlay]:
    for source in [spec.get("source"), *children(spec.get("sources"))] if spec else ():
        helm = source.get("helm") if source else None
        if source is None or helm is None:
            continue
        chart = text_of(source.get("chart")) or text_of(source.get("path"))
        given = children(helm.get("parameters"))
        pairs = [(text_of(each.get("name")), _value(each.get("value"))) for each in given]
        values = over(_text(helm, "values"), _plain(helm.get("valuesObject")))
        named = tuple(text_of(each) for each in children(helm.get("valueFiles")))
        yield Overlay(chart, way, over(values, _dotted(pairs)), named)


def _kustomized(document: Document) -> Iterator[Overlay]:
    here = document.file.parent
    for number, chart in enumerate(children(document.root.get("helmCharts"))):
        more = [text_of(each) for each in children(chart.get("additionalValuesFiles"))]
        given = [here / name for name in (text_of(chart.get("valuesFile")), *more) if name]
        try:
            values = read_values([file for file in given if file.is_file()])
        except ManifestError:  # the scan tells what is wrong with the file
            values = {}
        values = over(values, _plain(chart.get("valuesInline")))
        yield Overlay(text_of(chart.get("name")), f"helmCharts[{number}]", values)


def _plain(node: Node | None) -> dict[str, Any]:
    return node.plain() if isinstance(node, Mapping) else {}


def _text(node: Node | None, key: str) -> dict[str, Any]:
    """The values in a string; what is wrong with it is told where its images are read."""
    text = node.get(key) if node else None
    documents, _ = parse(text.text, Path()) if isinstance(text, Scalar) else ([], [])
    return _plain(documents[0].root) if documents else {}


def _value(node: Node | None) -> Any:
    return node.plain() if isinstance(node, Scalar) else None


def _pairs(node: Node | None, key: str) -> list[tuple[str, Any]]:
    given = node.get(key) if node else None
    return [(name.text, value.plain()) for name, value in given.items()] if (
        isinstance(given, Mapping)) else []  # fmt: skip


def _dotted(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Values by paths, as Helm's `--set` takes them; one into a list is left out."""
    values: dict[str, Any] = {}
    for path, value in pairs:
        steps = [re.sub(r"\\(.)", r"\1", step) for step in _STEP.findall(path)]
        if not steps or any("[" in step for step in steps):
            continue
        below = value
        for step in reversed(steps):
            below = {step: below}
        values = over(values, below)
    return values
