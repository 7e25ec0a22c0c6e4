"""FUSE sidecars and their readers, across pods and through a host's root."""

from pathlib import Path

import pytest

from hardtack.policy.check import check
from hardtack.policy.fix import fix
from tests.support.deployments import brief, checked

SIDECAR = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  template:
    spec:
      containers:
        - name: weights
          image: quay.io/cameras/mounter:1.0.0
          imagePullPolicy: IfNotPresent
          env:
            - {name: MOUNT_PATH, value: /opt/models}
          securityContext: {privileged: true}
          resources: {requests: {memory: 50Mi}}
          livenessProbe: {exec: {command: [mountpoint, -q, /host-root/opt/models]}}
          volumeMounts:
            - {name: host, mountPath: /host-root, mountPropagation: Bidirectional}
      volumes:
        - {name: host, hostPath: {path: /}}
"""


def reader(host: str, *lines: str) -> str:
    more = "".join(f"          {line}\n" for line in lines)
    return f"""\
kind: Pod
metadata: {{name: inference}}
spec:
  containers:
    - name: server
      image: quay.io/cameras/server:1.4.2
      imagePullPolicy: IfNotPresent
      volumeMounts:
        - name: models
          mountPath: /models  # read-only
{more}  volumes:
    - name: models
      hostPath: {{path: {host}}}
"""


@pytest.mark.parametrize("host", ["/opt/models", "/opt/models/pinamod", "/opt"])
def test_a_reader_in_another_pod(tmp_path: Path, host: str) -> None:
    report = checked(tmp_path, {"a.yaml": SIDECAR, "b.yaml": reader(host)})
    assert brief(report) == [("consumer-propagation", 10)]
    assert fix(report.findings) == {tmp_path / "b.yaml": 1}
    assert (tmp_path / "b.yaml").read_text() == reader(host, "mountPropagation: HostToContainer")
    assert check([tmp_path]).findings == ()


@pytest.mark.parametrize("host", ["/opt/model", "/var/lib", "/"])
def test_what_is_beside_the_mount(tmp_path: Path, host: str) -> None:
    assert brief(checked(tmp_path, {"a.yaml": SIDECAR, "b.yaml": reader(host)})) == []


@pytest.mark.parametrize(
    ("host", "found"), [("/opt", 1), ("/opt/models", 1), ("/opt/models/a", 1), ("/opt/state", 0)]
)
def test_what_is_beside_the_mount_below_one_bind(tmp_path: Path, host: str, found: int) -> None:
    sidecar = SIDECAR.replace("hostPath: {path: /}", "hostPath: {path: /opt}").replace(
        "mountPath: /host-root,", "mountPath: /opt,"
    )
    report = checked(tmp_path, {"a.yaml": sidecar, "b.yaml": reader(host)})
    assert brief(report) == [("consumer-propagation", 10)] * found


def test_a_bind_whose_mount_another_container_tells(tmp_path: Path) -> None:
    sidecar = SIDECAR.replace("hostPath: {path: /}", "hostPath: {path: /opt}").replace(
        "mountPath: /host-root,", "mountPath: /opt,"
    )
    holder = sidecar.replace("            - {name: MOUNT_PATH, value: /opt/models}\n", "").replace(
        "          env:\n", ""
    )
    files = {"b.yaml": reader("/opt/state"), "c.yaml": holder}
    assert brief(checked(tmp_path, files)) == [("consumer-propagation", 10)]
    assert brief(checked(tmp_path, files | {"a.yaml": sidecar})) == []


def test_resources_that_a_template_puts_in_are_judged_by_the_values(tmp_path: Path) -> None:
    template = SIDECAR.replace(
        "resources: {requests: {memory: 50Mi}}",
        "resources:\n            {{- toYaml .Values.mount | nindent 12 }}",
    )
    chart = {"Chart.yaml": "name: box\nversion: 1.0.0\n", "templates/a.yaml": template}
    for values, found in (
        ("mount: {requests: {memory: 50Mi}}\n", []),
        ("mount: {requests: {}}\n", [("sidecar-memory", 8)]),
        ("", []),  # whoever installs it may set it
    ):
        assert brief(checked(tmp_path, chart | {"values.yaml": values})) == found
    bare = SIDECAR.replace("resources: {requests: {memory: 50Mi}}", "resources: {}")
    assert brief(checked(tmp_path, {"plain/a.yaml": bare, "templates/a.yaml": ""})) == [
        ("sidecar-memory", 8)
    ]


def test_propagation_none_is_a_finding_without_a_fix(tmp_path: Path) -> None:
    files = {"a.yaml": SIDECAR, "b.yaml": reader("/opt/models", "mountPropagation: None")}
    report = checked(tmp_path, files)
    assert brief(report) == [("consumer-propagation", 10)]
    assert fix(report.findings) == {}


def test_a_template_that_decides_is_not_judged(tmp_path: Path) -> None:
    sidecar = SIDECAR.replace("privileged: true", "privileged: {{ .Values.a | unknownFunction }}")
    files = {
        "Chart.yaml": "name: box\nversion: 1.0.0\n",
        "templates/a.yaml": sidecar,
        "templates/b.yaml": reader("'{{ .Values.path | unknownFunction }}'"),
    }
    assert brief(checked(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("image", "command"),
    [
        ("public.ecr.example/mount-s3:1.2.3", ""),
        ("quay.io/cameras/tools:1.2.3", "[sh, -c, 'exec rclone mount s3:weights /models']"),
        ("quay.io/cameras/tools:1.2.3", "[hardtack, mount, 's3://weights', /models]"),
    ],
)
def test_a_bare_sidecar_lacks_everything(tmp_path: Path, image: str, command: str) -> None:
    text = (
        "kind: Pod\nspec:\n  containers:\n    - name: weights\n"
        f"      image: {image}\n      imagePullPolicy: Never\n"
    ) + (f"      command: {command}\n" if command else "")
    assert {rule for rule, _ in brief(checked(tmp_path, {"p.yaml": text}))} == {
        "sidecar-propagation",
        "sidecar-privileged",
        "sidecar-memory",
        "sidecar-liveness",
    }
