"""Any YAML, any Dockerfile, any shell: findings or none, never a crash."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hardtack.manifests.chains import chains
from hardtack.policy.fix import fix
from hardtack.policy.report import FORMATS
from tests.support.deployments import checked, pod

KEYS = st.sampled_from(
    [
        "apiVersion",
        "kind",
        "metadata",
        "name",
        "spec",
        "template",
        "containers",
        "initContainers",
        "image",
        "imagePullPolicy",
        "command",
        "args",
        "env",
        "value",
        "valueFrom",
        "envFrom",
        "secretRef",
        "volumes",
        "volumeMounts",
        "mountPropagation",
        "mountPath",
        "hostPath",
        "path",
        "emptyDir",
        "secret",
        "secretName",
        "securityContext",
        "privileged",
        "resources",
        "requests",
        "memory",
        "livenessProbe",
        "lifecycle",
        "postStart",
        "exec",
        "rules",
        "apiGroups",
        "data",
        "stringData",
        "items",
        "services",
        "entrypoint",
        "jobTemplate",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "Pod",
            "Deployment",
            "CronJob",
            "ConfigMap",
            "Secret",
            "List",
            "Role",
            "batch",
            "jobs",
            "alpine",
            "alpine:latest",
            "alpine:3.20",
            "Always",
            "Never",
            "Bidirectional",
            "HostToContainer",
            "/dev/fuse",
            "/mnt",
            "mount-s3",
            "AWS_PROFILE",
            "MOUNT_PATH",
            "HF_HUB_CACHE",
            "sh",
            "-c",
        ]
    ),
    st.sampled_from(
        ["curl https://e.example || true", "a && b || c && d", "kind: Pod\nspec: {containers: 3}\n"]
    ),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=40,
)
KINDS = st.sampled_from(["Pod", "Deployment", "CronJob", "ConfigMap", "Role", "List", "Other"])


CERTAIN = {"certain.yaml": pod(image="alpine:latest", policy="Always")}
"""What there is something to say of, whatever stands beside it."""


def survives(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        report = checked(Path(directory), files | CERTAIN)
        certain = [found for found in report.findings if found.place.file.name == "certain.yaml"]
        assert {found.rule for found in certain} >= {"floating-tag", "pull-always"}
        for form in FORMATS.values():
            form(report)
        fix(report.findings)
        fix(checked(Path(directory)).findings)
        assert fix(checked(Path(directory)).findings) == {}


@settings(max_examples=100, deadline=None)
@given(KINDS, st.dictionaries(KEYS, TREES, max_size=6))
def test_any_document(kind: str, tree: dict[str, Any]) -> None:
    survives({"it.yaml": yaml.safe_dump({"kind": kind} | tree)})


@settings(max_examples=60, deadline=None)
@given(KINDS, st.lists(st.dictionaries(KEYS, TREES, max_size=6), max_size=3), TREES)
def test_any_pod(kind: str, containers: list[dict[str, Any]], volumes: object) -> None:
    spec = {"containers": containers, "volumes": volumes}
    wrapped = {"kind": kind, "spec": spec | {"template": {"spec": spec}}}
    survives({"it.yaml": yaml.safe_dump(wrapped)})


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="FROM RUN curl && || ; { } ( ) ' \" \\ \n # $ << EOF wget", max_size=200))
def test_any_shell_and_any_dockerfile(text: str) -> None:
    lines = text.count("\n")
    assert all(0 <= command.line <= lines for chain in chains(text) for command in chain)
    survives({"Dockerfile": text, "it.sh": text})
