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
