"""Values that something sets over those of a chart: what then runs is found too."""

import base64
import io
import json
import tarfile
from pathlib import Path

import pytest

from hardtack.core.errors import ManifestError
from hardtack.images.lockfile import Lock, write_lock
from hardtack.manifests.model import Kind, Scan
from hardtack.manifests.scan import scan
from tests.manifests.test_helm_render import written
from tests.support.commands import run
from tests.support.helm import helm

CHART = {
    "cam/Chart.yaml": "apiVersion: v2\nname: camera\nversion: 1.0.0\n",
    "cam/values.yaml": "image: {repository: acme/cam, tag: '1'}\nsub: {image: acme/sub:1}\n",
    "cam/templates/d.yaml": "kind: Pod\nspec:\n  containers:\n"
    "  - image: {{ .Values.image.repository }}:{{ .Values.image.tag }}\n",
    "cam/charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
    "cam/charts/sub/values.yaml": "image: acme/sub:0\n",
    "cam/charts/sub/templates/d.yaml": "kind: Pod\nspec:\n  containers:\n"
    "  - image: {{ .Values.image }}\n",
}
OWN = {"acme/cam:1", "acme/sub:1"}


def names(result: Scan) -> set[str]:
    return {i.reference.name.removeprefix("docker.io/") for i in result.images if i.reference}


def k3s(spec: str, kind: str = "HelmChart", name: str = "cam") -> str:
    return f"apiVersion: helm.cattle.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}"


def argo(source: str) -> str:
    return f"apiVersion: argoproj.io/v1alpha1\nkind: Application\nspec:\n  {source}"


FLUX = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec:\n"
CONTENT = "  valuesContent: |\n    image: {tag: '2'}\n"


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (k3s(f"  chart: camera\n{CONTENT}"), {"acme/cam:2"}),
        (k3s(f"  chart: https://x.example/static/camera-1.0.0.tgz\n{CONTENT}"), {"acme/cam:2"}),
        (k3s(f"  chart: another\n{CONTENT}"), set()),
        (k3s("  chart: camera\n  set: {image.tag: '3', sub.image: acme/sub:3}\n"),
         {"acme/cam:3", "acme/sub:3"}),
        (k3s(f"  chart: camera\n  set: {{image.tag: '3'}}\n{CONTENT}"), {"acme/cam:3"}),
        (k3s("  chart: camera\n") + "---\n" + k3s(CONTENT, "HelmChartConfig"), {"acme/cam:2"}),
        (k3s("  chart: camera\n") + "---\n" + k3s(CONTENT, "HelmChartConfig", "b"), set()),
        (f"{FLUX}  chart: {{spec: {{chart: camera}}}}\n  values: {{image: {{tag: '4'}}}}\n",
         {"acme/cam:4"}),
        (f"{FLUX}  chart: {{spec: {{chart: ./x/cam}}}}\n  values: {{image: {{tag: '4'}}}}\n",
         {"acme/cam:4"}),
        (argo("source: {path: x/cam, helm: {valuesObject: {image: {tag: '5'}}}}"), {"acme/cam:5"}),
        (argo("sources: [{chart: camera, helm: {values: 'image: {tag: 6}'}}]"), {"acme/cam:6"}),
        (argo("source: {path: cam, helm: {parameters: [{name: image.tag, value: '7'}]}}"),
         {"acme/cam:7"}),
        (argo("source: {path: cam, helm: {valueFiles: [boxes/one.yaml]}}"), {"acme/cam:one"}),
        (argo("source: {path: cam, helm: {valueFiles: [boxes/none.yaml]}}"), set()),
    ],
)  # fmt: skip
def test_what_installs_a_chart_sets_over_its_values(
    tmp_path: Path, text: str, more: set[str]
) -> None:
    one = {"cam/boxes/one.yaml": "image: {tag: one}\n"}
    result = scan([written(tmp_path, CHART | one | {"install.yaml": text})])
    assert names(result) == OWN | more
    told = [image for image in result.images if ", with " in image.path]
    assert {(i.place.file.name, i.place.line) for i in told} == ({("d.yaml", 4)} if more else set())


def test_kustomize_sets_over_the_values_of_its_charts(tmp_path: Path) -> None:
    files = {f"charts/{name}": text for name, text in CHART.items()}
    files["kustomization.yaml"] = (
        "helmCharts:\n- name: camera\n  valuesFile: a.yaml\n  additionalValuesFiles: [b.yaml]\n"
        "  valuesInline: {sub: {image: acme/sub:k}}\n"
    )
    files |= {"a.yaml": "image: {tag: a, repository: acme/a}\n", "b.yaml": "image: {tag: b}\n"}
    assert names(scan([written(tmp_path, files)])) >= OWN | {"acme/a:b", "acme/sub:k"}


def test_a_values_file_beside_a_chart_s_own_is_for_some_boxes(tmp_path: Path) -> None:
    files = CHART | {"cam/values-line2.yaml": "image: {tag: line2}\n"}
    top = written(tmp_path, files)
    assert names(scan([top])) == OWN | {"acme/cam:line2"}
    given = written(tmp_path, {"given.yaml": "image: {tag: given}\nother: {image: acme/o:1}\n"})
    found = scan([top / "cam"], values=[given / "given.yaml"])
    assert names(found) == {"acme/cam:given", "acme/sub:1", "acme/o:1"}


def test_the_last_of_the_values_given_wins_and_null_takes_a_key_away(tmp_path: Path) -> None:
    top = written(tmp_path, CHART | {"a.yaml": "image: {tag: a}\nsub: null\n",
                                     "b.yaml": "image: {tag: b}\n"})  # fmt: skip
    found = scan([top / "cam"], values=[top / "a.yaml", top / "b.yaml"])
    assert names(found) == {"acme/cam:b", "acme/sub:0"}


@pytest.mark.parametrize("version", [3, 4])
def test_helm_renders_with_the_values_given(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM", str(helm(version)))
    top = written(tmp_path, CHART | {"a.yaml": "image: {tag: a}\n",
                                     "k.yaml": k3s(f"  chart: camera\n{CONTENT}")})  # fmt: skip
    found = scan([top / "cam"], values=[top / "a.yaml"], helm="rendered")
    assert names(found) == {"acme/cam:a", "acme/sub:1"}
    assert names(scan([top / "cam", top / "k.yaml"], helm="rendered")) == OWN | {"acme/cam:2"}


@pytest.mark.parametrize(
    ("text", "said"), [("- a\n", "no values file"), ("a: [\n", "can't be read"), ("a: \0", "zeros")]
)
def test_values_that_can_t_be_read_are_refused(tmp_path: Path, text: str, said: str) -> None:
    top = written(tmp_path, CHART | {"a.yaml": text})
    with pytest.raises(ManifestError, match=said):
        scan([top / "cam"], values=[top / "a.yaml"])


def packed(top: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.add(top / "cam", "camera")
    return out.getvalue()


def test_a_packed_chart_by_itself_is_read(tmp_path: Path) -> None:
    top = written(tmp_path / "a", CHART)
    archive = tmp_path / "b" / "camera-1.0.0.tgz"
    archive.parent.mkdir()
    archive.write_bytes(packed(top))
    for paths in ([archive], [archive.parent]):
        result = scan(paths)
        assert names(result) == OWN
        assert archive / "camera/templates/d.yaml" in {i.place.file for i in result.images}
    archive.write_bytes(b"no archive")
    assert names(scan([archive])) == set()


def test_a_chart_that_a_helm_chart_holds_itself_is_read_with_its_values(tmp_path: Path) -> None:
    content = base64.b64encode(packed(written(tmp_path / "a", CHART))).decode()
    text = k3s(f"  chartContent: {content}\n{CONTENT}", name="x")
    top = written(tmp_path / "b", {"k.yaml": text})
    result = scan([top])
    assert names(result) == OWN | {"acme/cam:2"}
    assert not [image for image in result.images if image.kind is Kind.CHART]
    held = top / "k.yaml/camera"
    assert {i.place.file for i in result.images if ", with HelmChart/x" in i.path} == {
        held / "templates/d.yaml"
    }
    assert all(i.place.file.is_relative_to(held) for i in result.images)


@pytest.mark.parametrize("content", ["AAAA", "no base64!"])
def test_a_held_chart_that_can_t_be_read_is_told(tmp_path: Path, content: str) -> None:
    result = scan([written(tmp_path, {"k.yaml": k3s(f"  chartContent: {content}\n")})])
    (problem,) = result.problems
    assert "left out" in problem.message and problem.place.file.name == "k.yaml"


def test_commands_take_values_for_charts(tmp_path: Path) -> None:
    top = written(tmp_path, CHART | {"a.yaml": "image: {tag: latest}\n"})
    shown = run("images", "scan", "cam", "--values", "a.yaml", cwd=top)
    assert "acme/cam:latest" in shown.stdout and "acme/cam:1" not in shown.stdout
    shown = run("policy", "check", "cam", "--values", "a.yaml", cwd=top)
    assert "acme/cam:latest" in shown.stdout
    write_lock(top / "images.lock", Lock(("linux/amd64",), ()))
    shown = run("images", "lock", "cam", "--values", "a.yaml", "--check", "--json", cwd=top)
    assert "docker.io/acme/cam:latest" in {row["image"] for row in json.loads(shown.stdout)}
