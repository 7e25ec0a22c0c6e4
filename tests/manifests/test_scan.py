"""What a scan finds in a tree of deployment files, each with its true line."""

import base64
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardtack.core.errors import ManifestError
from hardtack.manifests import dockerfile
from hardtack.manifests.expressions import Named
from hardtack.manifests.helm import Chart
from hardtack.manifests.model import FoundImage, Kind, Scan
from hardtack.manifests.place import Severity
from hardtack.manifests.scan import scan
from hardtack.manifests.template import parse

POD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: camera}
spec:
  template:
    spec:
      initContainers:
        - image: busybox
      containers:
        - name: main
          image: quay.io/a/main:1
        - image: quay.io/a/side:latest
          imagePullPolicy: Never
      volumes:
        - image: {reference: quay.io/a/weights:2}
"""


def scanned(directory: Path, files: dict[str, str]) -> Scan:
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return scan([directory])


def brief(image: FoundImage) -> tuple[int, str, str]:
    return image.place.line, image.path, image.reference.familiar if image.reference else "?"


def test_a_deployment(tmp_path: Path) -> None:
    images = scanned(tmp_path, {"d.yaml": POD}).images
    assert [brief(image) for image in images] == [
        (8, "Deployment/camera › initContainers[0]", "busybox"),
        (11, "Deployment/camera › containers[0]", "quay.io/a/main:1"),
        (12, "Deployment/camera › containers[1]", "quay.io/a/side:latest"),
        (15, "Deployment/camera › volumes[0]", "quay.io/a/weights:2"),
    ]
    policies = [(i.policy.value, i.policy.explicit) for i in images if i.policy]
    assert policies[:3] == [("Always", False), ("IfNotPresent", False), ("Never", True)]


def test_yaml_in_a_configmap_in_a_configmap(tmp_path: Path) -> None:
    def wrapped(text: str) -> str:
        head = "kind: ConfigMap\nmetadata: {name: c}\ndata:\n  t.yaml: |\n"
        return head + "".join(f"    {line}\n" for line in text.splitlines())

    images = scanned(tmp_path, {"c.yaml": wrapped(wrapped(POD))}).images
    assert [image.place.line for image in images] == [16, 19, 20, 23]
    assert all(image.hidden for image in images)
    way = "ConfigMap/c › data.t.yaml"
    assert images[1].path == f"{way} › {way} › Deployment/camera › containers[0]"


def test_yaml_in_a_secret(tmp_path: Path) -> None:
    encoded = base64.b64encode(POD.encode()).decode()
    text = f"kind: Secret\nmetadata: {{name: s}}\ndata:\n  t.yaml: {encoded}\n"
    images = scanned(tmp_path, {"s.yaml": text}).images
    assert [(image.place.line, image.hidden) for image in images] == [(4, True)] * 4


def test_a_raw_chart(tmp_path: Path) -> None:
    template = (
        "kind: Pod\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  containers:\n"
        "    {{- if .Values.on }}\n    - image: {{ .Values.repo }}:{{ .Values.tag | default "
        '"7" }}\n    {{- end }}\n    - image: {{ include "full" . | quote }}\n'
        "    - image: 'x:{{ .Capabilities.KubeVersion }}'\n"
    )
    helper = '{{- define "full" -}}\n{{ .Values.repo }}:{{ .Chart.AppVersion }}\n{{- end }}\n'
    result = scanned(tmp_path, {
        "Chart.yaml": "name: c\nappVersion: '9.1'\n", "values.yaml": "repo: quay.io/a/b\n",
        "templates/p.yaml": template, "templates/_h.tpl": helper,
    })  # fmt: skip
    assert [brief(image)[::2] for image in result.images] == [
        (7, "quay.io/a/b:7"),
        (9, "quay.io/a/b:9.1"),
        (10, "?"),
    ]
    assert result.images[2].reason.startswith("cannot tell: .Capabilities.KubeVersion")
    assert not result.problems


def test_a_subchart_has_its_parents_values(tmp_path: Path) -> None:
    pod = "kind: Pod\nspec:\n  containers:\n  - image: {{ .Values.i.repo }}:{{ .Values.i.tag }}\n"
    result = scanned(tmp_path, {
        "Chart.yaml": "name: c\n", "values.yaml": "sub: {i: {tag: '2'}}\n",
        "charts/sub/Chart.yaml": "name: sub\n",
        "charts/sub/values.yaml": "i: {repo: quay.io/a/b, tag: '1'}\n",
        "charts/sub/templates/p.yaml": pod,
    })  # fmt: skip
    assert [brief(image)[2] for image in result.images] == ["quay.io/a/b:2"]


def test_a_dockerfile(tmp_path: Path) -> None:
    text = (
        "ARG V=3.20\nFROM --platform=linux/arm64 alpine:${V} AS base\n"
        "RUN set -eu && \\\n    # both\n    crane pull busybox:1.36 /a.tar && \\\n"
        "    skopeo copy docker://quay.io/x/y:1 dir:z\nFROM base\nCOPY --from=quay.io/c/d:1 /a /b\n"
    )
    images = scanned(tmp_path, {"Dockerfile": text}).images
    assert [brief(image) for image in images] == [
        (2, "stage 0 › FROM", "alpine:3.20"),
        (5, "stage 0 › RUN › crane pull", "busybox:1.36"),
        (6, "stage 0 › RUN › skopeo copy", "quay.io/x/y:1"),
        (8, "stage 1 › COPY", "quay.io/c/d:1"),
    ]
    assert images[0].platforms == ("linux/arm64",)


def test_lists_scripts_compose_and_custom_resources(tmp_path: Path) -> None:
    result = scanned(tmp_path, {
        "compose.yaml": "services:\n  web:\n    image: nginx:${TAG:-1.27}\n",
        "crd.yaml": "kind: Engine\nmetadata: {name: e}\nspec: {image: quay.io/e/e:1}\n",
        "k3s-images.txt": "# k3s\nrancher/pause:3.6\n",
        "pull.sh": "T=2\ndocker pull a/b:$T\nif x; then T=3; fi\ndocker pull a/b:$T\n",
    })  # fmt: skip
    assert [(image.kind, brief(image)[0], brief(image)[2]) for image in result.images] == [
        (Kind.COMPOSE, 3, "nginx:1.27"),
        (Kind.CRD, 3, "quay.io/e/e:1"),
        (Kind.K3S, 2, "rancher/pause:3.6"),
        (Kind.COMMAND, 2, "a/b:2"),
        (Kind.COMMAND, 4, "?"),
    ]


def test_kustomize_moves_tags(tmp_path: Path) -> None:
    overlay = "resources: [d.yaml]\nimages: [{name: quay.io/a/main, newTag: '5'}]\n"
    images = scanned(tmp_path, {"kustomization.yaml": overlay, "d.yaml": POD}).images
    assert brief(images[1])[2] == "quay.io/a/main:5"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(bytes(9))
    (tmp_path / "c.yaml").write_bytes(b"kind: \xff")
    with (tmp_path / "huge.yaml").open("wb") as huge:
        huge.truncate(50_000_000)
    zeros, latin, big = scan([tmp_path]).problems
    assert "it holds zeros, as a power cut leaves them" in zeros.message
    assert "left out: not UTF-8 (byte 6)" in latin.message
    assert zeros.severity is latin.severity is Severity.ERROR  # it may name images
    assert "left out: 50,000,000 bytes, more than 20,971,520" in big.message
    with pytest.raises(ManifestError, match="nowhere"):
        scan([tmp_path / "nowhere"])


PIECES = ["FROM ", "a", "ARG X=$X", "RUN ", "crane pull ", "<<EOF", "\\\n", "\n", "$", "${X:-", "'"]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4)).map("".join))
def test_any_text_passes_the_dockerfile_reader(text: str) -> None:
    lines = text.count("\n") + 1
    assert all(1 <= i.place.line <= lines for i in dockerfile.images(text, Path("Dockerfile")))


ACTIONS = ["{{", "}}", "-", "if .Values.a", "end", "| default ", '"', "`", "(", "printf ", "\n",
           ".Values.a", 'include "t" .', "trunc 3", "{{ else }}", "{{ end }}",
           "{{ range .Values.l }}", "{{ $x := ", "{{ with ", "$x", ".", 'define "t"', "/* ", "*/",
           "tpl ", ")", "image: ", "{{ toYaml . }}", "{{ $x := . }}", "{{ quote $ }}",
           "{{ dict \"c\" $ | ", "toYaml", "print $"]  # fmt: skip


@settings(max_examples=200)
@given(st.lists(st.sampled_from(ACTIONS) | st.text(max_size=4)).map("".join))
def test_any_text_passes_the_template_reader(text: str) -> None:
    itself = Named(parse('{{ include "t" . }}'), Path("t.tpl"))
    chart = Chart(Path("c"), [{"a": "b", "l": [1, {"a": 2}]}], named={"t": itself})
    (flat,) = chart.flattened(parse(text), Path("t.yaml"))
    assert flat.text.count("\n") == text.count("\n")
