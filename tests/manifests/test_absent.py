"""Charts that are not among the files: that they name images is said, where they are asked for."""

from pathlib import Path

import pytest

from hardtack.manifests.model import Kind, Scan
from tests.manifests.test_scan import scanned

CHART = """\
name: c
dependencies:
  - name: collector
    version: 0.105.0
    repository: https://charts.example
    condition: collector.enabled
"""
HELM_CHART = """\
apiVersion: helm.cattle.io/v1
kind: HelmChart
metadata: {name: gpu}
spec:
  repo: https://charts.example
  chart: gpu-operator
  valuesContent: |-
    driver:
      image: quay.io/v/driver:1
    toolkit: {enabled: false}
"""
INNER = "name: collector\n"


def told(result: Scan) -> list[tuple[str, int, str, str]]:
    return [(i.place.file.name, i.place.line, i.raw, i.reason.partition(",")[0])
            for i in result.images if i.kind is Kind.CHART]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "absent"),
    [
        ({}, True),
        ({"values.yaml": "collector: {enabled: true}\n"}, True),
        ({"values.yaml": "collector: {enabled: false}\n"}, False),
        ({"charts/collector/Chart.yaml": INNER}, False),
        ({"charts/other-name/Chart.yaml": INNER}, False),
        ({"charts/collector-0.105.0.tgz": ""}, False),
        ({"charts/another/Chart.yaml": "name: another\n"}, True),
        ({"charts/collector-more-1.0.0.tgz": ""}, True),
    ],
)
def test_a_subchart_that_is_not_there(tmp_path: Path, more: dict[str, str], absent: bool) -> None:
    found = told(scanned(tmp_path, {"Chart.yaml": CHART} | more))
    reason = "cannot tell: this chart isn't in charts/"
    assert found == ([("Chart.yaml", 3, "collector", reason)] if absent else [])


def test_a_chart_that_k3s_takes_from_a_repository(tmp_path: Path) -> None:
    result = scanned(tmp_path, {"gpu.yaml": HELM_CHART})
    (found,) = told(result)
    assert found[:3] == ("gpu.yaml", 6, "gpu-operator")
    assert found[3].startswith("cannot tell: k3s takes this chart from a repository")
    named = [i for i in result.images if i.reference]
    assert {(i.place.line, str(i.reference)) for i in named} == {(9, "quay.io/v/driver:1")}
    assert {i.hidden for i in named} == {True}


def test_a_chart_whose_name_begins_alike_is_another(tmp_path: Path) -> None:
    result = scanned(tmp_path, {"gpu.yaml": HELM_CHART, "gpu/Chart.yaml": "name: gpu\n"})
    assert [raw for _, _, raw, _ in told(result)] == ["gpu-operator"]


@pytest.mark.parametrize(
    "chart", ["gpu-operator", "nvidia/gpu-operator", "https://charts.example/gpu-operator-1.2.tgz"]
)
def test_a_chart_whose_files_are_read_too(tmp_path: Path, chart: str) -> None:
    files = {"k3s.yaml": HELM_CHART.replace("chart: gpu-operator", f"chart: {chart}"),
             "gpu/Chart.yaml": "name: gpu-operator\n"}  # fmt: skip
    assert told(scanned(tmp_path, files)) == []


TAGGED = """\
apiVersion: v1
dependencies:
  - name: collector
    repository: https://charts.example
    condition: collector.on, more.on
    tags: [telemetry, cloud]
"""


@pytest.mark.parametrize(
    ("values", "absent"),
    [
        ("", True),
        ("tags: {telemetry: false}", False),
        ("tags: {telemetry: false, cloud: false}", False),
        ("tags: {telemetry: false, cloud: true}", True),
        ("tags: {other: false}", True),
        ("tags: [telemetry]", True),
        ("tags: {telemetry: true}\ncollector: {on: false}", False),
        ("tags: {telemetry: false}\nmore: {on: true}", True),
        ("tags: {telemetry: false}\ncollector: {on: text}", False),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_subchart_that_tags_switch(tmp_path: Path, values: str, absent: bool, old: bool) -> None:
    files = {"Chart.yaml": f"name: c\n{TAGGED}"}
    if old:
        files = {"Chart.yaml": "name: c\napiVersion: v1\n", "requirements.yaml": TAGGED}
    found = told(scanned(tmp_path, files | {"values.yaml": values}))
    file, line = ("requirements.yaml", 3) if old else ("Chart.yaml", 4)
    reason = "cannot tell: this chart isn't in charts/"
    assert found == ([(file, line, "collector", reason)] if absent else [])


def test_a_subchart_of_a_subchart_is_switched_by_the_outermost_tags(tmp_path: Path) -> None:
    files = {"Chart.yaml": "name: top\n", "values.yaml": "tags: {cloud: false}\n",
             "charts/c/Chart.yaml": f"name: c\n{TAGGED}",
             "charts/c/values.yaml": "tags: {cloud: true}\n"}  # fmt: skip
    assert told(scanned(tmp_path, files)) == []


def test_an_alias_in_requirements_sets_a_subcharts_values(tmp_path: Path) -> None:
    files = {"Chart.yaml": "name: c\napiVersion: v1\n",
             "requirements.yaml": "dependencies: [{name: sub, alias: one}]\n",
             "values.yaml": "one: {tag: '2'}\n", "charts/sub/Chart.yaml": "name: sub\n",
             "charts/sub/values.yaml": "tag: '1'\n", "charts/sub/templates/p.yaml":
             "kind: Pod\nspec: {containers: [{image: 'a/b:{{ .Values.tag }}'}]}\n"}  # fmt: skip
    assert [i.raw for i in scanned(tmp_path, files).images] == ["a/b:2"]


def test_requirements_of_a_chart_that_has_them_elsewhere_are_none(tmp_path: Path) -> None:
    files = {"Chart.yaml": "name: c\napiVersion: v2\n", "requirements.yaml": TAGGED}
    assert told(scanned(tmp_path, files)) == []


KUSTOMIZATION = """\
resources:
  - pod.yaml
  - base
  - ../beside
  - https://example.com/more.yaml
  - github.com/example/things//deploy?ref=v1
helmCharts:
  - name: collector
    repo: https://charts.example
    version: 1.2.3
    valuesInline:
      agent: {image: quay.io/v/agent:1}
"""
POD = "kind: Pod\nspec: {containers: [{image: a/b:1}]}\n"


def test_what_kustomize_takes_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/pod.yaml").write_text(POD)
    files = {"kustomization.yaml": KUSTOMIZATION, "pod.yaml": POD, "base/pod.yaml": POD}
    result = scanned(tmp_path / "overlay", files)
    reason = "cannot tell: kustomize takes this "
    assert told(result) == [
        ("kustomization.yaml", 4, "../beside", f"{reason}from elsewhere: scan its files too"),
        ("kustomization.yaml", 5, "https://example.com/more.yaml",
         f"{reason}from elsewhere: scan its files too"),
        ("kustomization.yaml", 6, "github.com/example/things//deploy?ref=v1",
         f"{reason}from elsewhere: scan its files too"),
        ("kustomization.yaml", 8, "collector",
         f"{reason}chart from a repository: scan its files too (helm pull --untar)"),
    ]  # fmt: skip
    (inline,) = [i for i in result.images if "valuesInline" in i.path]
    assert (inline.place.line, str(inline.reference)) == (12, "quay.io/v/agent:1")


def test_what_kustomize_takes_in_that_is_scanned_too(tmp_path: Path) -> None:
    files = {"overlay/kustomization.yaml": KUSTOMIZATION.replace("  - https://example.com/more.yaml\n"
             "  - github.com/example/things//deploy?ref=v1\n", ""), "overlay/pod.yaml": POD,
             "overlay/base/pod.yaml": POD, "beside/pod.yaml": POD,
             "charts/collector/Chart.yaml": INNER}  # fmt: skip
    assert told(scanned(tmp_path, files)) == []
