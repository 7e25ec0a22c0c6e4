"""Containers that a chart writes in parts: each rule sees the container as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardtack.policy.check import Report
from tests.support.deployments import checked

DEPLOYMENT = "kind: Deployment\nspec:\n  template:\n    spec:\n"
MAIN = "      containers:\n      - name: main\n        image: a/b:1.2.3\n"


def charted(directory: Path, helper: str, spec: str, values: str = "") -> Report:
    return checked(directory, {
        "Chart.yaml": "name: c\n", "values.yaml": values, "templates/_h.tpl": helper,
        "templates/d.yaml": DEPLOYMENT + spec,
    })  # fmt: skip


def brief(report: Report) -> list[tuple[str, str, int]]:
    return [(f.rule, f.place.file.name, f.place.line) for f in report.findings]


@pytest.mark.parametrize(
    ("common", "found"),
    [
        ("imagePullPolicy: IfNotPresent", []),
        ("imagePullPolicy: Always", [("pull-always", "d.yaml", 7)]),
        ("ports: []", [("pull-policy-missing", "d.yaml", 7)]),
        ("imagePullPolicy: IfNotPresent\ncommand: [sh, -c, 'apk add curl; run']",
         [("runtime-download", "_h.tpl", 3)]),
        ("imagePullPolicy: IfNotPresent\ncommand:\n- sh\n- -c\n- |\n  set -e\n  apk add curl",
         [("runtime-download", "_h.tpl", 8)]),
        ("imagePullPolicy: IfNotPresent\nenv:\n- {name: HF_HOME, value: /hf}",
         [("hub-online", "d.yaml", 6)]),
        ("imagePullPolicy: IfNotPresent\nenv: [{name: X_IMAGE, value: 'a/c:latest'}]",
         [("floating-tag", "_h.tpl", 3)]),
    ],
)  # fmt: skip
def test_the_rest_of_a_container_is_included(
    tmp_path: Path, common: str, found: list[tuple[str, str, int]]
) -> None:
    helper = f'{{{{- define "common" -}}}}\n{common}\n{{{{- end -}}}}\n'
    spec = MAIN + '        {{- include "common" . | nindent 8 }}\n        tty: true\n'
    assert brief(charted(tmp_path, helper, spec)) == found


def test_a_container_of_a_list_is_included(tmp_path: Path) -> None:
    helper = (
        '{{- define "side" -}}\nname: side\nimage: a/side:1.2.3\nimagePullPolicy: IfNotPresent\n'
        "command: [sh, -c, pip install x]\n{{- end -}}\n"
    )
    spec = MAIN + (
        '        imagePullPolicy: Never\n      - {{- include "side" . | nindent 8 }}\n'
        '      {{- include "list" . | nindent 6 }}\n'
    )
    helper += helper.replace('"side"', '"list"').replace("name: side", "- name: side").replace(
        "\nimage", "\n  image").replace("\ncommand", "\n  command")  # fmt: skip
    assert brief(charted(tmp_path, helper, spec)) == [
        ("runtime-download", "_h.tpl", 5), ("runtime-download", "_h.tpl", 11)
    ]  # fmt: skip


def test_volumes_and_variables_are_included(tmp_path: Path) -> None:
    """A mount's consumer, whose volume stands in a named template and its path in the values."""
    helper = (
        '{{- define "volumes" -}}\n- name: models\n  hostPath: {path: /opt/models}\n{{- end -}}\n'
        '{{- define "offline" -}}\n- {name: HF_HUB_OFFLINE, value: "1"}\n'
        '- {name: TRANSFORMERS_OFFLINE, value: "1"}\n{{- end -}}\n'
    )
    values = (
        "mounts:\n- {name: models, mountPath: /opt/models}\n"
        "resources: {requests: {memory: 50Mi}}\nprivileges: {privileged: true}\n"
    )
    spec = (
        '      volumes:\n      {{- include "volumes" . | nindent 6 }}\n'
        "      containers:\n      - name: mount-s3\n        image: a/mount:1.2.3\n"
        "        imagePullPolicy: Never\n"
        "        resources: {{- toYaml .Values.resources | nindent 10 }}\n"
        "        securityContext:\n          {{- toYaml .Values.privileges | nindent 10 }}\n"
        "        livenessProbe: {exec: {command: [ls]}}\n        volumeMounts:\n"
        "        - {name: models, mountPath: /opt/models, mountPropagation: Bidirectional}\n"
        "      - name: reader\n        image: a/reader:1.2.3\n        imagePullPolicy: Never\n"
        "        env:\n        - {name: HF_HOME, value: /opt/models/hf}\n"
        '        {{- include "offline" . | nindent 8 }}\n        volumeMounts:\n'
        "        {{- toYaml .Values.mounts | nindent 8 }}\n"
    )
    assert brief(charted(tmp_path, helper, spec, values)) == [
        ("consumer-propagation", "d.yaml", 24)
    ]  # fmt: skip


def test_what_an_include_may_hold_cannot_be_told(tmp_path: Path) -> None:
    spec = MAIN + (
        '        {{- include "library.rest" . | nindent 8 }}\n      - name: mount-s3\n'
        "        image: a/c:1.2.3\n        imagePullPolicy: Never\n"
        "        securityContext: {privileged: true}\n"
        '        {{- include "library.rest" . | nindent 8 }}\n'
        "        volumeMounts: [{name: x, mountPath: /x, mountPropagation: Bidirectional}]\n"
    )
    report = charted(tmp_path, "", spec)
    assert brief(report) == [
        ("pull-policy-unknown", "d.yaml", 7), ("sidecar-liveness", "d.yaml", 9),
        ("sidecar-memory", "d.yaml", 9),
    ]  # fmt: skip
    assert 'cannot tell: {{ include "library.rest" . | nindent 8 }} may set it' in (
        report.findings[0].message)  # fmt: skip
    assert all("as far as can be told" in found.message for found in report.findings[1:])


def test_what_does_not_fit_is_left_as_it_stands(tmp_path: Path) -> None:
    """An include that makes no YAML where it stands keeps nothing else from being read."""
    helper = '{{- define "common" -}}\nimagePullPolicy: Always\n{{- end -}}\n'
    spec = MAIN + '        {{- include "common" . | nindent 3 }}\n'
    assert brief(charted(tmp_path, helper, spec)) == [("pull-policy-missing", "d.yaml", 7)]
