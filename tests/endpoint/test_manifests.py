"""Deployments and Services of the Kubernetes backend: valid, and as a box with no link needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from hardtack.endpoint.backends.kubernetes import manifests
from hardtack.endpoint.backends.kubernetes.manifests import Pods
from hardtack.endpoint.backends.versions import Version
from hardtack.endpoint.servers import Program
from hardtack.inference.package import Package, Weights
from tests.support.kubernetes import validate

NEWEST = int(kubernetes_validate.latest_version().split(".")[1])
DETECTOR = "det_2xYzAbCdEfGhIjKlMnOpQrStUvW"
MOUNT = Path("/opt/groundlight/edge/pinamod-mount")
CPU = Pods("registry.example/hardtack:1.0", MOUNT)
FULL = Pods(
    "registry.example/hardtack@sha256:" + "a" * 64, MOUNT, "Never", ("ecr",), "jetson", "nvidia",
    {"kubernetes.io/arch": "arm64"}, 4, "100m", "2", "256Mi", "2000000000",
)  # fmt: skip
VERSIONS = [f"1.{minor}" for minor in range(28, NEWEST + 1)]


def version(number: int = 7, *, oodd: bool = False) -> Version:
    def package(role: str) -> Package:
        directory = MOUNT / "models" / DETECTOR / role / str(number)
        return Package(directory, "binary", ("YES", "NO"), (Weights("a", 1, ""),), None, text=role)

    return Version(package("primary"), package("oodd") if oodd else None, (1, 1))


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("kubernetes", VERSIONS)
@pytest.mark.parametrize(
    ("pods", "program"),
    [(CPU, None), (FULL, None), (CPU, Program("registry.example/other:1", ("serve", "--all")))],
)
def test_every_kubernetes_from_1_28_on_takes_them(
    kubernetes: str, pods: Pods, program: Program | None
) -> None:
    made = manifests.deployment(DETECTOR, version(oodd=True), pods, program)
    for body in (made, manifests.service(DETECTOR)):
        validate(body, kubernetes)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "endpoint"}, "rules": manifests.rules(),
    }  # fmt: skip
    validate(role, kubernetes)


def test_names_are_those_of_such_boxes() -> None:
    plain = "det-2xyzabcdefghijklmnopqrstuvw"
    assert manifests.deployment_name(DETECTOR) == f"inferencemodel-primary-{plain}"
    assert manifests.service_name(DETECTOR) == f"inference-service-primary-{plain}"
    assert manifests.service_name(DETECTOR, "oodd") == f"inference-service-oodd-{plain}"
    assert manifests.service(DETECTOR)["spec"]["ports"][0]["port"] == 8000


def test_a_new_version_rolls_with_no_gap() -> None:
    old, new = (manifests.deployment(DETECTOR, version(n), CPU) for n in (7, 8))
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert new["spec"]["strategy"] == rolling
    assert old["spec"]["selector"] == new["spec"]["selector"]
    assert old["metadata"]["annotations"] != new["metadata"]["annotations"]
    assert f"{MOUNT}/models/{DETECTOR}/primary/8" in container(new)["args"]
    grace = new["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(container(new)["lifecycle"]["preStop"]["exec"]["command"][1]) < grace


def test_nothing_reaches_for_the_network() -> None:
    made = container(manifests.deployment(DETECTOR, version(), dataclasses.replace(CPU, threads=4)))
    env = {entry["name"]: entry["value"] for entry in made["env"]}
    assert env["HF_HUB_OFFLINE"] == env["TRANSFORMERS_OFFLINE"] == "1"
    assert env["HF_HUB_CACHE"] == f"{MOUNT}/pretrained-weights/hf-hub"
    assert env["TORCH_HOME"] == f"{MOUNT}/pretrained-weights/torch-home"
    assert env["OMP_NUM_THREADS"] == env["MKL_NUM_THREADS"] == env["OPENBLAS_NUM_THREADS"] == "4"
    assert not [name for name in env if "AWS" in name or "TOKEN" in name]
    assert made["imagePullPolicy"] == "IfNotPresent"
    spec = manifests.deployment(DETECTOR, version(), FULL)["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert container(manifests.deployment(DETECTOR, version(), FULL))["imagePullPolicy"] == "Never"


def test_a_mount_that_comes_back_is_seen_through_its_parent() -> None:
    made = manifests.deployment(DETECTOR, version(), CPU)
    mount = container(made)["volumeMounts"][0]
    assert mount["mountPath"] == str(MOUNT.parent)
    assert mount["mountPropagation"] == "HostToContainer"
    assert mount["readOnly"] is True
    volume = made["spec"]["template"]["spec"]["volumes"][0]
    assert volume["hostPath"]["path"] == str(MOUNT.parent)


def test_no_probe_counts_the_minutes_that_weights_take() -> None:
    made = manifests.deployment(DETECTOR, version(), CPU)
    # Both say yes while bytes come, however slowly; /health/ready is no reason to be killed.
    for probe in ("startupProbe", "livenessProbe"):
        assert container(made)[probe]["httpGet"]["path"] == "/health/live"
    assert container(made)["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert made["spec"]["progressDeadlineSeconds"] > 10 * 365 * 86400


def test_flavors_and_nodes() -> None:
    made = manifests.deployment(DETECTOR, version(), FULL)
    spec = made["spec"]["template"]["spec"]
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
    assert spec["imagePullSecrets"] == [{"name": "ecr"}]
    words = container(made)["args"]
    named = [words[n + 1] for n, word in enumerate(words) if word == "--provider"]
    assert named == ["tensorrt", "cuda", "cpu"]
    assert container(made)["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "2", "memory": "2000000000"},
    }
    plain = manifests.deployment(DETECTOR, version(), CPU)["spec"]["template"]["spec"]
    assert not {"runtimeClassName", "nodeSelector", "imagePullSecrets"} & plain.keys()
    assert "--provider" not in plain["containers"][0]["args"]


def test_rights_are_few_and_none_of_them_batch() -> None:
    rules = manifests.rules()
    assert {group for rule in rules for group in rule["apiGroups"]} == {"", "apps"}
    assert {name for rule in rules for name in rule["resources"]} == {
        "deployments", "services", "pods",
    }  # fmt: skip
    assert not [rule for rule in rules if "*" in rule["verbs"]]
