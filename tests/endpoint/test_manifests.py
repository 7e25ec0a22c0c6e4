"""Deployments and Services of the Kubernetes backend: valid, and as a box with no link needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from hardtack.endpoint.backends.kubernetes import manifests
from hardtack.endpoint.backends.kubernetes.manifests import Pods
from hardtack.endpoint.backends.versions import Version
from hardtack.endpoint.servers import Program
from hardtack.inference.package import Golden, Package, Weights
from tests.support.deployments import checked
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


OTHER = Program("registry.example/other:1", ("serve", "--all"))


def version(number: int = 7, *, oodd: bool = False, golden: bool = False) -> Version:
    picture = Golden(Weights("golden.png", 1, ""), "YES") if golden else None

    def package(role: str) -> Package:
        return Package(
            MOUNT / "models" / DETECTOR / role / str(number), "binary", ("YES", "NO"),
            (Weights("a", 1, ""),), None, golden=picture, text=role,
        )  # fmt: skip

    return Version(package("primary"), package("oodd") if oodd else None, (1, 1))


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("kubernetes", VERSIONS)
@pytest.mark.parametrize(
    ("pods", "program"),
    [(CPU, None), (FULL, None), (CPU, OTHER), (FULL, OTHER)],
)
def test_every_kubernetes_from_1_28_on_takes_them(
    kubernetes: str, pods: Pods, program: Program | None
) -> None:
    made = manifests.deployment(DETECTOR, version(oodd=True, golden=True), pods, program)
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


def test_another_programs_server_is_examined_beside_it() -> None:
    made = manifests.deployment(DETECTOR, version(oodd=True, golden=True), FULL, OTHER)
    program, examiner = made["spec"]["template"]["spec"]["containers"]
    assert (program["image"], examiner["image"]) == (OTHER.image, FULL.image)
    assert examiner["imagePullPolicy"] == "Never"
    words = examiner["args"]
    told = {word: words[n + 1] for n, word in enumerate(words) if word.startswith("--")}
    assert words[:2] == ["inference", "examine"]
    assert told["--model"] == f"{MOUNT}/models/{DETECTOR}/primary/7"
    assert told["--oodd"] == f"{MOUNT}/models/{DETECTOR}/oodd/7"
    assert told["--server-port"] == str(program["ports"][0]["containerPort"])
    assert told["--port"] == str(examiner["ports"][0]["containerPort"])
    # A pod is ready when all its containers are: so it gets no picture before it has passed.
    probe = examiner["readinessProbe"]
    assert probe["httpGet"] == {"path": "/health/ready", "port": examiner["ports"][0]["name"]}
    assert probe["failureThreshold"] == 1
    assert examiner["terminationMessagePolicy"] == "FallbackToLogsOnError"
    # A pod that was deleted is ready, and so is sent pictures to, while both of them stay.
    assert examiner["lifecycle"] == program["lifecycle"]
    assert examiner["lifecycle"]["preStop"]["exec"]["command"][0] == "sleep"
    assert program["volumeMounts"][0] == examiner["volumeMounts"][0]
    # The Service's port is the program's.
    assert manifests.service(DETECTOR)["spec"]["ports"][0]["targetPort"] == "http"
    assert [p["name"] for p in program["ports"]] == ["http"]


@pytest.mark.parametrize(("golden", "program"), [(False, OTHER), (True, None)])
def test_nobody_is_beside_a_server_with_no_golden_picture_or_one_that_examines_itself(
    golden: bool, program: Program | None
) -> None:
    container(manifests.deployment(DETECTOR, version(golden=golden), CPU, program))


def test_our_containers_are_restricted_as_far_as_a_pod_may_be() -> None:
    """What the Pod Security Standard `restricted` demands of a container, and more."""
    other = manifests.deployment(DETECTOR, version(golden=True), CPU, OTHER)
    own = manifests.deployment(DETECTOR, version(), CPU)
    examiner = other["spec"]["template"]["spec"]["containers"][1]
    for pod, ours in ((other, examiner), (own, container(own))):
        spec = pod["spec"]["template"]["spec"]
        allowed = {**spec["securityContext"], **ours["securityContext"]}
        assert allowed["runAsNonRoot"] is True and allowed["runAsUser"] > 0
        assert allowed["allowPrivilegeEscalation"] is False
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert allowed["readOnlyRootFilesystem"] is True
        assert allowed["seccompProfile"] == {"type": "RuntimeDefault"}
    requests, limits = (examiner["resources"][part] for part in ("requests", "limits"))
    assert requests.keys() == {"cpu", "memory"} and limits.keys() == {"memory"}


def test_a_policy_for_boxes_with_no_link_finds_nothing_in_them(tmp_path: Path) -> None:
    pinned = dataclasses.replace(CPU, image=FULL.image)
    other = dataclasses.replace(OTHER, image="registry.example/other@sha256:" + "b" * 64)
    made = [
        manifests.deployment(DETECTOR, version(golden=True), pinned, program)
        for program in (None, other)
    ]
    made.append(manifests.service(DETECTOR))
    text = yaml.safe_dump_all(made)
    assert checked(tmp_path, {"pods.yaml": text}).findings == ()
