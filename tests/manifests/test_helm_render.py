"""Charts as Helm 3 and Helm 4 render them, at the lines of their templates."""

from pathlib import Path

import pytest

from hardtack.core.errors import ManifestError
from hardtack.manifests import helm_render
from hardtack.manifests.model import Scan
from hardtack.manifests.scan import scan
from tests.support.helm import helm

DEPLOYMENT = """\
# A comment that names quay.io/a/side:1
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
    - name: main
      image: {{ .Values.repo }}:{{ .Capabilities.KubeVersion.Major }}
    - name: side
      image: quay.io/a/side:1
    {{- range untilStep 0 1 1 }}
    - name: extra
      image: {{ printf "quay.io/a/extra:%d" . | quote }}
    {{- end }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data:
  pod.yaml: |
    {{- printf "kind: Pod\\nspec: {containers: [{image: 'a/hidden:%d'}]}" (max 1 2) | nindent 4 }}
"""

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n"
    "dependencies: [{name: sub, version: 0.1.0, alias: other}]\n",
    "values.yaml": "repo: quay.io/a/main\nother: {tag: '7'}\n",
    "templates/p.yaml": DEPLOYMENT,
    "charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 0.1.0\n",
    "charts/sub/values.yaml": "tag: '1'\n",
    "charts/sub/templates/q.yaml": "kind: Pod\nspec:\n  containers:\n"
    "  - image: quay.io/s/q:{{ .Values.tag }}\n",
}


@pytest.fixture(params=[3, 4])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = helm(request.param)
    monkeypatch.setenv("HELM", str(found))
    return found


def written(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return directory


def table(result: Scan) -> list[tuple[str, int, str, bool]]:
    return [
        (i.place.file.name, i.place.line, i.reference.familiar if i.reference else "?", i.hidden)
        for i in result.images
    ]


@pytest.mark.needs("npm")
def test_rendered(program: Path, tmp_path: Path) -> None:
    result = scan([written(tmp_path, CHART)], helm="rendered")
    assert sorted(table(result)) == [
        ("p.yaml", 8, "quay.io/a/main:1", False),
        ("p.yaml", 10, "quay.io/a/side:1", False),
        ("p.yaml", 13, "quay.io/a/extra:0", False),
        ("p.yaml", 16, "a/hidden:2", True),
        ("q.yaml", 4, "quay.io/s/q:7", False),
    ]
    assert not result.problems


@pytest.mark.needs("npm")
def test_both(program: Path, tmp_path: Path) -> None:
    branch = "    {{- if .Values.off }}\n    - image: quay.io/a/off:1\n    {{- end }}\n---\n"
    files = CHART | {"templates/p.yaml": DEPLOYMENT.replace("---\n", branch)}
    found = table(scan([written(tmp_path, files)], helm="auto"))
    assert ("p.yaml", 16, "quay.io/a/off:1", False) in found
    assert ("p.yaml", 13, "quay.io/a/extra:0", False) in found
    assert found.count(("p.yaml", 10, "quay.io/a/side:1", False)) == 1
    assert "?" not in [name for _, _, name, _ in found]


@pytest.mark.needs("npm")
def test_a_chart_that_helm_refuses(program: Path, tmp_path: Path) -> None:
    files = CHART | {"templates/bad.yaml": 'a: {{ fail "no" }}\n'}
    chart = written(tmp_path, files)
    with pytest.raises(ManifestError, match=r"helm template refuses .*bad\.yaml"):
        scan([chart], helm="rendered")
    result = scan([chart], helm="auto")
    assert ["refuses" in problem.message for problem in result.problems] == [True]
    assert ("p.yaml", 10, "quay.io/a/side:1", False) in table(result)


def test_a_helm_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    slow = tmp_path / "helm"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    with pytest.raises(ManifestError, match=r"took longer than 0\.2 s"):
        helm_render.render(str(slow), tmp_path, timeout=0.2)


def test_helm_knows_no_proxy_cluster_or_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("KUBECONFIG", "/k")
    spy = tmp_path / "helm"
    spy.write_text("#!/bin/sh\necho '---'\necho '# Source: c/x.yaml'\nenv\n")
    spy.chmod(0o755)
    (section,) = helm_render.render(str(spy), tmp_path)
    assert "KUBECONFIG=/dev/null" in section.text
    assert "HTTPS_PROXY=http://127.0.0.1:9" in section.text
    assert "SECRET" not in section.text


def test_without_helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", str(tmp_path / "nowhere"))
    chart = written(tmp_path / "c", CHART)
    with pytest.raises(ManifestError, match="needs Helm"):
        scan([chart], helm="rendered")
    assert table(scan([chart], helm="auto")) == table(scan([chart], helm="raw"))
