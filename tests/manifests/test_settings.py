"""Images that a program starts by itself: named in variables, options, and settings."""

import base64
import json
from pathlib import Path

import pytest

from hardtack.manifests.model import FoundImage, Kind
from tests.manifests.test_scan import brief, scanned

CONTAINER = (
    "kind: Deployment\nmetadata: {name: d}\nspec:\n  template:\n    spec:\n      containers:\n"
)


def found(images: tuple[FoundImage, ...]) -> list[tuple[int, str, str]]:
    """(line, last step, image or why not) of what settings name."""
    return [
        (
            i.place.line,
            i.path.rpartition(" › ")[2],
            i.raw if i.reference else f"{i.raw}? {i.reason}",
        )
        for i in images
        if i.kind is Kind.SETTING
    ]


@pytest.mark.parametrize(
    ("name", "value", "images"),
    [
        ("INFERENCE_IMAGE", "quay.io/a/b:1", ["quay.io/a/b:1"]),
        ("IMAGE", "b:1", ["b:1"]),
        ("workerImage", "a/b:1", ["a/b:1"]),
        ("IMAGE_NAME", "a/b:1", ["a/b:1"]),
        ("RELATED_IMAGE_ENGINE", f"quay.io/a/b@sha256:{'0a' * 32}",
         [f"quay.io/a/b@sha256:{'0a' * 32}"]),
        ("PRELOAD_IMAGES", "a/b:1, c:2", ["a/b:1", "c:2"]),
        ("CONFIG_RELOADER", "quay.io/a/reloader:v0.68", ["quay.io/a/reloader:v0.68"]),
        ("AGENT", "123456789012.dkr.ecr.us-west-2.amazonaws.com/agent:7",
         ["123456789012.dkr.ecr.us-west-2.amazonaws.com/agent:7"]),
        ("IMAGE_PULL_POLICY", "Always", []),
        ("IMAGE_DIR", "/data/images", []),
        ("BASE_IMAGE_URL", "http://cdn.example.com/a:1", []),
        ("USE_MINIMAL_IMAGE", "false", []),
        ("SHOW_IMAGE", "a/b:1", ["a/b:1"]),
        ("BACKGROUND_IMAGE", "assets/sky.png", []),
        ("FLASH_IMAGE", "boards/orin.img:2", []),
        ("IMAGE_CACHE", "redis:6379", []),
        ("IMAGE_PROXY", "proxy.example.com:8080/path", []),
        ("IMAGE_TAG", "v1.2", []),
        ("IMAGE_SIZE", "640:480", []),
        ("IMAGE_BUCKET", "s3://a/b:1", []),
        ("IMAGE", "sha256:" + "0a" * 32, []),
        ("MODEL", "registry.example.com/models/yolo:1", []),
        ("SCHEDULE", "12/30:15", []),
        ("IMAGES", "one:1 two", []),
        ("IMAGINARY", "a/b:1", []),
        ("CAMERA_IMAGE_TOPIC", "camera/front:0", []),
        ("image-topic", "camera/front:raw", []),
        ("IMAGE_SOURCE", "camera/front:0", []),
        ("IMAGE_TOPICS", "camera/front:0, camera/back:0", []),
        ("IMAGE_OF_WORKERS", "reg.example.com:5000/a/b:1", ["reg.example.com:5000/a/b:1"]),
        ("IMAGE_OF_WORKERS", "quay.io/a/b:1", ["quay.io/a/b:1"]),
        ("RELATED_IMAGE_ENGINE", "a/b:1", ["a/b:1"]),
        ("_", "b:1", []),
        ("WORKER_IMAGE_DEFAULT", "a/b:1", ["a/b:1"]),
        ("IMAGE_2", "a/b:1", ["a/b:1"]),
        ("IMAGES_TO_PULL", "a/b:1, a/c:1", ["a/b:1", "a/c:1"]),
        ("IMAGE_PIN", f"a/b@sha256:{'0a' * 32}", [f"a/b@sha256:{'0a' * 32}"]),
    ],
)  # fmt: skip
def test_names_and_values(tmp_path: Path, name: str, value: str, images: list[str]) -> None:
    """Told alike of a variable, a ConfigMap's key, a line of settings in it, and compose's."""
    pod = json.dumps({"kind": "Pod", "spec": {"containers": [
        {"image": "a/main:1", "env": [{"name": name, "value": value}]}]}})  # fmt: skip
    kept = json.dumps({"kind": "ConfigMap", "data": {name: value}})
    lines = json.dumps({"kind": "ConfigMap", "data": {"app.env": f"# all\n{name}={value}\nA=b\n"}})
    service = json.dumps({"services": {"x": {"image": "a/x:1", "environment": {name: value}}}})
    for text in (pod, kept, lines, service):
        result = scanned(tmp_path, {"one.json": text})
        assert [i.raw for i in result.images if i.kind is Kind.SETTING] == images


def test_variables_of_containers(tmp_path: Path) -> None:
    text = CONTAINER + (
        "      - image: a/main:1\n        env:\n"
        "        - name: REGISTRY\n          value: quay.io/cams\n"
        "        - name: INFERENCE_IMAGE\n          value: $(REGISTRY)/server:$(TAG)\n"
        "        - name: WORKER_IMAGE\n          value: a/worker\n"
        "        - {name: WORKER_IMAGE_TAG, value: '7'}\n"
        "        - {name: HELPER_IMAGE, value: 'a/helper'}\n"
        "        - {name: DEBUG_IMAGE, value: 'a/debug:${VERSION}'}\n"
    )
    result = scanned(tmp_path, {"d.yaml": text})
    assert found(result.images) == [
        (12, "env.INFERENCE_IMAGE", "quay.io/cams/server:$(TAG)? cannot tell: $(TAG) has no value "
         "that is written down"),
        (14, "env.WORKER_IMAGE", "a/worker:7"),
        (16, "env.HELPER_IMAGE", "a/helper? cannot tell: no tag is given, and what starts it may "
         "add one"),
        (17, "env.DEBUG_IMAGE", "a/debug:${VERSION}? cannot tell: ${VERSION} has no value that is "
         "written down"),
    ]  # fmt: skip
    assert result.images[1].path == "Deployment/d › containers[0] › env.INFERENCE_IMAGE"
    assert not result.images[1].hidden


def test_variables_out_of_configmaps_and_secrets(tmp_path: Path) -> None:
    def taken(name: str, kind: str, where: str, key: str) -> str:
        return (f"        - name: {name}\n          valueFrom:\n"
                f"            {kind}KeyRef: {{name: {where}, key: {key}}}\n")  # fmt: skip

    text = CONTAINER + "      - image: a/main:1\n        env:\n"
    text += taken("INFERENCE_IMAGE", "configMap", "settings", "server")
    text += taken("WORKER_IMAGE", "configMap", "settings", "worker-image")
    text += taken("OTHER_IMAGE", "configMap", "settings", "nothing")
    text += taken("FOURTH_IMAGE", "configMap", "elsewhere", "image")
    text += taken("FIFTH_IMAGE", "secret", "hush", "x")
    text += taken("LOG_LEVEL", "configMap", "elsewhere", "level")
    secret = base64.b64encode(b"a/secret:1").decode()
    result = scanned(tmp_path, {
        "a.yaml": text,
        "b.yaml": "kind: ConfigMap\nmetadata: {name: settings}\ndata:\n  server: a/server:3\n"
                  "  worker-image: a/worker:4\n",
        "c.yaml": f"kind: Secret\nmetadata: {{name: hush}}\ndata: {{x: {secret}}}\n",
    })  # fmt: skip
    way = "Deployment/d › containers[0] › env."
    assert [(i.place.file.name, i.place.line, i.path, i.untold if i.reason else i.raw)
            for i in result.images if i.kind is Kind.SETTING] == [
        ("a.yaml", 15, f"{way}OTHER_IMAGE", "OTHER_IMAGE: cannot tell: it comes from "
         "ConfigMap/settings, which has no nothing"),
        ("a.yaml", 18, f"{way}FOURTH_IMAGE", "FOURTH_IMAGE: cannot tell: it comes from "
         "ConfigMap/elsewhere, which is not among the files"),
        ("b.yaml", 4, f"{way}INFERENCE_IMAGE › ConfigMap/settings › data.server", "a/server:3"),
        ("b.yaml", 5, "ConfigMap/settings › data.worker-image", "a/worker:4"),
        ("c.yaml", 3, f"{way}FIFTH_IMAGE › Secret/hush › data.x", "a/secret:1"),
    ]  # fmt: skip
    assert all(i.hidden for i in result.images if i.place.file.name != "a.yaml")


def test_options_of_programs(tmp_path: Path) -> None:
    text = CONTAINER + (
        "      - image: a/manager:1\n        args:\n        - --zap-level=5\n"
        "        - --acme-solver-image=a/solver:1\n        - --worker-image\n        - a/worker:2\n"
        "        - --reloader=quay.io/a/reloader:v1\n        - --image-dir=/a/b:1\n"
        "        - --log-image\n        - --listen=box:8080\n"
    )
    assert found(scanned(tmp_path, {"d.yaml": text}).images) == [
        (10, "--acme-solver-image", "a/solver:1"), (12, "--worker-image", "a/worker:2"),
        (13, "--reloader", "quay.io/a/reloader:v1"),
    ]  # fmt: skip


def test_a_script_has_its_containers_variables(tmp_path: Path) -> None:
    text = CONTAINER + (
        "      - image: a/docker:1\n        env: [{name: TAG, value: '5'}]\n"
        "        command: [sh, -c, 'docker run a/b:$TAG']\n"
        "      - image: a/docker:1\n        env: [{name: TAG, value: '6'}]\n"
        "        command: [docker, pull, a/b:$(TAG)]\n"
    )
    images = scanned(tmp_path, {"d.yaml": text}).images
    assert [brief(i)[::2] for i in images if i.kind in (Kind.STARTED, Kind.COMMAND)] == [
        (9, "a/b:5"), (12, "a/b:6")
    ]  # fmt: skip


def test_maps_of_images(tmp_path: Path) -> None:
    images = (
        "images:\n  web: nginx:1.25\n  db: {repository: postgres, tag: '16'}\n  none: {tag: 1}\n"
        "  cache: {name: library/redis, version: '7'}\n  logo: web.png\n"
        "worker_image: a/worker:1\nsidecar: {registry: quay.io, repository: a/side, digest: ''}\n"
        "list:\n  images: [a/x:1, {image: a/y, tag: 2}, {name: web, tag: 3}]\n"
        "chart: {repository: 'https://charts.example.com', name: a, version: '1'}\n"
    )
    inside = "".join(f"    {line}\n" for line in images.splitlines())
    wanted = [
        (2, "nginx:1.25"), (3, "postgres:16"), (5, "redis:7"), (7, "a/worker:1"),
        (8, "quay.io/a/side"), (10, "a/x:1"), (10, "a/y:2"),
    ]  # fmt: skip
    for head, text, above in (
        ("kind: Camera\n", images, 1), ("kind: ConfigMap\ndata:\n  c: |\n", inside, 3)
    ):  # fmt: skip
        result = scanned(tmp_path, {"c.yaml": head + text})
        assert [brief(i)[::2] for i in result.images] == [(n + above, i) for n, i in wanted]
        assert not result.problems


def test_settings_of_a_chart(tmp_path: Path) -> None:
    """An option as cert-manager's chart writes it, and a variable of parts."""
    template = CONTAINER + (
        "      - image: a/main:1\n        args:\n        {{- with .Values.solver.image }}\n"
        "        - --acme-http01-solver-image={{- if .registry -}}{{ .registry }}/{{- end -}}"
        "{{ .repository }}{{- if (.digest) -}} @{{ .digest }}{{- else -}}"
        ":{{ default $.Chart.AppVersion .tag }} {{- end -}}\n        {{- end }}\n        env:\n"
        "        - name: SERVER_IMAGE\n"
        '          value: "{{ .Values.server.repository }}:{{ .Values.server.tag }}"\n'
        "        - name: OTHER_IMAGE\n          value: {{ .Values.other }}\n"
        "        - name: USE_MINIMAL_IMAGE\n          value: {{ .Values.minimal | quote }}\n"
    )
    result = scanned(tmp_path, {
        "Chart.yaml": "name: c\nappVersion: '9.1'\n", "templates/d.yaml": template,
        "values.yaml": "solver: {image: {repository: quay.io/a/solver}}\n"
                       "server: {repository: a/server, tag: '3'}\nminimal: false\n",
    })  # fmt: skip
    assert found(result.images)[:2] == [
        (10, "--acme-http01-solver-image", "quay.io/a/solver:9.1"),
        (14, "env.SERVER_IMAGE", "a/server:3"),
    ]
    assert [(line, why) for line, _, why in found(result.images)[2:]] == [
        (16, "{{…}}? cannot tell: {{ .Values.other }} has no value in the chart's values")
    ]


def test_kustomize_moves_no_settings(tmp_path: Path) -> None:
    pod = CONTAINER + "      - {image: 'a/b:1', env: [{name: B_IMAGE, value: 'a/b:1'}]}\n"
    inside = "kind: ConfigMap\ndata:\n  p: |\n" + "".join(f"    {n}\n" for n in pod.splitlines())
    overlay = "resources: [d.yaml]\nimages: [{name: a/b, newTag: '5'}]\n"
    result = scanned(tmp_path, {"kustomization.yaml": overlay, "d.yaml": f"{pod}---\n{inside}"})
    assert [brief(i)[2] for i in result.images] == ["a/b:5", "a/b:1", "a/b:1", "a/b:1"]


def test_parts_as_nvidias_operator_has_them(tmp_path: Path) -> None:
    text = (
        "kind: ClusterPolicy\nspec:\n  toolkit:\n    repository: nvcr.io/nvidia/k8s\n"
        "    image: container-toolkit\n    version: v1.17.8\n    imagePullPolicy: Always\n"
        "  dcgm: {repository: nvcr.io/nvidia, image: dcgm, version: 'sha256:" + "0a" * 32 + "'}\n"
    )
    images = scanned(tmp_path, {"p.yaml": text}).images
    assert [brief(i)[::2] for i in images] == [
        (4, "nvcr.io/nvidia/k8s/container-toolkit:v1.17.8"),
        (8, f"nvcr.io/nvidia/dcgm@sha256:{'0a' * 32}"),
    ]
    assert images[0].policy and images[0].policy.value == "Always"
