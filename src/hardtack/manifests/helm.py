"""Helm charts on disk: their values, subcharts' too, and their templates flattened to YAML."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardtack.manifests import files, template
from hardtack.manifests.expressions import Evaluator, Named
from hardtack.manifests.flatten import Flat, flatten
from hardtack.manifests.functions import Context
from hardtack.manifests.overlays import over
from hardtack.manifests.place import Place, Problem, Severity
from hardtack.manifests.yamlpos import parse

_RELEASE = {"Name": "release", "Namespace": "default", "Service": "Helm", "Revision": 1,
            "IsInstall": True, "IsUpgrade": False}  # fmt: skip
_OLD = "requirements.yaml"  # Helm 2's place for dependencies; charts of apiVersion v1 have it still
_TESTS = ("tests", "ci")  # of helm-unittest, of chart-testing


@dataclass
class Chart:
    """A chart's directory, its values, and the named templates that it may include.

    `values` has one set for each name that its parent gives it (more than one with aliases).
    """

    directory: Path
    values: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    about: dict[str, Any] = field(default_factory=dict)
    named: dict[str, Named] = field(default_factory=dict)
    outer: Chart | None = None

    @property
    def name(self) -> str:
        return str(self.about.get("Name") or self.directory.name)

    @property
    def asks_in(self) -> tuple[Path, ...]:
        """The files that may name its dependencies."""
        own = self.directory / "Chart.yaml"
        return (own,) if self.about.get("ApiVersion") == "v2" else (own, self.directory / _OLD)

    def not_installed(self, file: Path) -> Path | None:
        """The directory of the chart's own tests, or of values for them, that the file lies in."""
        parts = file.relative_to(self.directory).parts
        return self.directory / parts[0] if len(parts) > 1 and parts[0] in _TESTS else None

    def renders(self, file: Path) -> bool | None:
        """Whether Helm takes a file below templates/ for manifests, whatever its name ends with;
        None for one elsewhere."""
        if file.relative_to(self.directory).parts[0] != "templates":
            return None
        return not file.name.startswith(("_", ".")) and not file.name.endswith("NOTES.txt")

    def flattened(
        self, nodes: list[template.Node], file: Path, *, only_chosen: bool = False
    ) -> list[Flat]:
        """The template in `file` as YAML of the same lines, once for each set of values."""
        evaluator = Evaluator(self.named | _defined(nodes, file))
        return [
            flatten(nodes, evaluator, self._context(values), only_chosen=only_chosen)
            for values in self.values
        ]

    def _context(self, values: dict[str, Any]) -> Context:
        return Context(Values=values, Chart=self.about, Release=_RELEASE)


class Charts:
    """The charts that files belong to, each read once; what's wrong with them in `problems`.

    `given` are values set over those of each outermost chart.
    """

    def __init__(self, given: dict[str, Any] | None = None) -> None:
        self.given = given or {}
        self.problems: list[Problem] = []
        self.known: dict[Path, Chart | None] = {}

    def of(self, file: Path) -> Chart | None:
        """The chart that a file belongs to, or None."""
        for directory in file.parents[:6]:
            if directory not in self.known:
                is_chart = (directory / "Chart.yaml").is_file()
                self.known[directory] = self.read(directory, self._outer(directory)) if (
                    is_chart) else None  # fmt: skip
            if chart := self.known[directory]:
                return chart
        return None

    def outermost(self) -> list[Chart]:
        """The charts that are installed by themselves, in order."""
        tops = {c.directory: c for c in self.known.values() if c and c.outer is None}
        return [chart for _, chart in sorted(tops.items())]

    def names(self) -> set[str]:
        """What the charts are called, by themselves or by their directory."""
        known = [chart for chart in self.known.values() if chart]
        return {name for chart in known for name in (chart.name, chart.directory.name)}

    def named(self, text: str) -> list[Chart]:
        """The outermost charts that a name, `repository/name`, a path or an archive's address
        leads to."""
        return [
            chart for chart in self.outermost()
            if is_named(text, {chart.name, chart.directory.name})
        ]  # fmt: skip

    def _outer(self, directory: Path) -> Chart | None:
        above = directory.parent.parent
        if directory.parent.name == "charts" and (above / "Chart.yaml").is_file():
            return self.of(above / "Chart.yaml")
        return None

    def read(self, directory: Path, outer: Chart | None) -> Chart:
        """The chart in `directory`, with what its parent sets for it, kept for `of`."""
        chart = Chart(directory, outer=outer)
        chart.about = {
            key[:1].upper() + key[1:]: value
            for key, value in self._plain(directory / "Chart.yaml").items()
        }
        for file in chart.asks_in[1:]:
            asked = self._plain(file).get("dependencies")
            chart.about.setdefault("Dependencies", asked)
        own = self._plain(directory / "values.yaml")
        chart.values = _given(chart, own) if outer else [over(own, self.given)]
        # Helm keeps the named templates of all charts of a tree in one place; an outer one's win.
        chart.named = outer.named if outer else {}
        for file in sorted((directory / "templates").rglob("*")):
            if file.is_file():
                text = files.read(file, self.problems)
                if text and "define " in text:
                    nodes = template.parse(text)
                    for name, each in _defined(nodes, file).items():
                        chart.named.setdefault(name, each)
                    self.problems += faults(nodes, file)
        self.known[directory] = chart
        here = directory.resolve()
        for inner in sorted((directory / "charts").glob("*/Chart.yaml")):
            if inner.resolve().parent not in (here, *here.parents):  # no link back
                self.of(inner)
        return chart

    def _plain(self, file: Path) -> dict[str, Any]:
        if not file.is_file():
            return {}
        text = files.read(file, self.problems)
        documents, problems = parse(text, file) if text else ([], [])
        self.problems += problems
        plain = documents[0].root.plain() if documents else {}
        return plain if isinstance(plain, dict) else {}


def is_named(text: str, names: Collection[str]) -> bool:
    """Whether a chart of one of the names is meant by a name, `repository/name`, a path, or the
    address of an archive `name-1.2.3.tgz`."""
    last = text.rstrip("/").rpartition("/")[2]
    return bool(last) and any(last == name or is_archive_of(last, name) for name in names)


def is_archive_of(archive: str, name: str) -> bool:
    """By Helm's names, `name-1.2.3.tgz`: what follows the name is a version."""
    return re.match(re.escape(name) + r"-v?[0-9]", archive) is not None


def faults(nodes: list[template.Node], file: Path) -> list[Problem]:
    """What is wrong with a template."""
    return [
        Problem(Place(file, line, column), f"Helm refuses this template: {what}", Severity.WARNING)
        for line, column, what in template.faults(nodes)
    ]


def _defined(nodes: list[template.Node], file: Path) -> dict[str, Named]:
    return {name: Named(body, file) for name, body in template.defines(nodes)}


def _given(chart: Chart, own: dict[str, Any]) -> list[dict[str, Any]]:
    """A subchart's values with those that its parent sets over them, for each of its names."""
    assert chart.outer is not None
    sets: list[dict[str, Any]] = []
    for above in chart.outer.values:
        for name in names_below(chart.outer, chart.name):
            values = own
            for part in ({"global": above.get("global")}, above.get(name)):
                given = part if isinstance(part, dict) else {}
                values = over(values, given, null_counts=False)
            if values not in sets:
                sets.append(values)
    return sets


def names_below(outer: Chart, name: str) -> list[str]:
    """The names under which `outer` sets values of its subchart `name`: aliases, or its own."""
    listed = outer.about.get("Dependencies")
    dependencies = [each for each in listed if isinstance(each, dict)] if (
        isinstance(listed, list)) else []  # fmt: skip
    return [str(each.get("alias") or name) for each in dependencies if each.get("name") == name
            ] or [name]  # fmt: skip
