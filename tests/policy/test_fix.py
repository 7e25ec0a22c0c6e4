"""Safe fixes: one line, layout and comments kept, never twice, never where it isn't safe."""

from pathlib import Path

import pytest

from hardtack.manifests.place import Place, Severity
from hardtack.policy.check import check
from hardtack.policy.fix import fix
from hardtack.policy.rule import Edit, Finding
from tests.support.deployments import brief, checked, pod, written

ODD = """\
# about the pod
kind: Pod
spec:
  initContainers:
  -   image:   "alpine:3.20.3"     # keep me
      name: a
  containers:
    - name: b
      image: busybox:1.36.1
      imagePullPolicy:  "Always"   # and me
"""
FIXED = """\
# about the pod
kind: Pod
spec:
  initContainers:
  -   image:   "alpine:3.20.3"     # keep me
      imagePullPolicy: IfNotPresent
      name: a
  containers:
    - name: b
      image: busybox:1.36.1
      imagePullPolicy:  IfNotPresent   # and me
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_lines_are_added_and_replaced(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "pod.yaml"
    file.write_bytes(ODD.replace("\n", ending).encode())
    assert fix(check([file]).findings) == {file: 2}
    assert file.read_bytes() == FIXED.replace("\n", ending).encode()
    assert check([file]).findings == ()


def test_a_second_time_nothing_changes(tmp_path: Path) -> None:
    file = written(tmp_path, {"pod.yaml": ODD}) / "pod.yaml"
    first = check([file]).findings
    fix(first)
    assert fix(first) == {}
    assert fix(check([file]).findings) == {}
    assert file.read_text() == FIXED


def test_a_file_without_a_last_line_break(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(pod(policy="").rstrip("\n"))
    fix(check([file]).findings)
    assert file.read_text().endswith(
        "      image: alpine:3.20.3\n      imagePullPolicy: IfNotPresent"
    )
    assert check([file]).findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "kind: Pod\nspec: {containers: [{name: a, image: alpine:3.20.3}]}\n",
        '{"kind": "Pod", "spec": {"containers": [{\n"image": "alpine:3.20.3"\n}]}}\n',
        "kind: Pod\nspec:\n  containers:\n    - image: >-\n        alpine:3.20.3\n",
        "kind: Pod\nspec:\n  containers:\n    - image:\n        alpine:3.20.3\n",
    ],
)
def test_what_is_no_plain_line_is_left_alone(tmp_path: Path, text: str) -> None:
    report = checked(tmp_path, {"pod.yaml": text})
    assert [rule for rule, _ in brief(report)] == ["pull-policy-missing"]
    assert fix(report.findings) == {}
    assert (tmp_path / "pod.yaml").read_text() == text


def test_a_line_that_has_changed_since_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path, {"pod.yaml": pod(policy="")}) / "pod.yaml"
    report = check([file])
    file.write_text("# new\n" + file.read_text())
    before = file.read_text()
    assert fix(report.findings) == {}
    assert file.read_text() == before


def test_inside_a_configmap(tmp_path: Path) -> None:
    inner = "".join(f"    {line}\n" for line in pod(policy="").splitlines())
    text = f"kind: ConfigMap\nmetadata: {{name: t}}\ndata:\n  pod.yaml: |\n{inner}"
    files = {"map.yaml": text, "open.yaml": pod()}
    fix(checked(tmp_path, files).findings)
    assert check([tmp_path]).findings == ()
    assert (
        "          image: alpine:3.20.3\n          imagePullPolicy: IfNot"
        in (tmp_path / "map.yaml").read_text()
    )


def test_in_a_helm_template(tmp_path: Path) -> None:
    files = {
        "Chart.yaml": "name: box\nversion: 1.0.0\n",
        "values.yaml": "tag: 3.20.3\npolicy: Always\n",
        "templates/a.yaml": pod(image='"alpine:{{ .Values.tag }}"', policy=""),
        "templates/b.yaml": pod(policy="{{ .Values.policy }}"),
    }
    report = checked(tmp_path, files)
    assert {rule for rule, _ in brief(report)} == {"pull-policy-missing", "pull-always"}
    fix(report.findings)
    assert {rule for rule, _ in brief(check([tmp_path]))} == {"pull-always"}
    assert "policy: Always" in (tmp_path / "values.yaml").read_text()
    added = '      image: "alpine:{{ .Values.tag }}"\n      imagePullPolicy: IfNotPresent\n'
    assert added in (tmp_path / "templates/a.yaml").read_text()


def test_bytes_that_are_no_unicode_stay_as_they_are(tmp_path: Path) -> None:
    """A fix of another line of a file that is written anew as a whole."""
    file = tmp_path / "a.yaml"
    file.write_bytes(b"# caf\xe9\na: 1\r\n")
    finding = Finding(
        "rule", Severity.ERROR, Place(file, 2), "message", Edit(file, 2, "a: 1", ("a: 2",))
    )
    assert fix([finding]) == {file: 1}
    assert file.read_bytes() == b"# caf\xe9\na: 2\r\n"
