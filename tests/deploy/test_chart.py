"""The chart: what it renders, and that a cluster would take it."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import (
    CHART,
    Manifest,
    Refused,
    containers,
    find,
    pod_specs,
    rendered,
    template,
)
from tests.support.commands import run
from tests.support.helm import helm
from tests.support.kubernetes import validate

pytestmark = pytest.mark.needs("npm")

VERSIONS = tuple(f"1.{minor}" for minor in range(28, 38))
"""Of Kubernetes, to the newest whose schemas there are."""
EVERYTHING: dict[str, Any] = {
    "namespace": "cameras",
    "image": {"repository": "registry.example:5000/a/hardtack", "digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": ["own"],
    "inferenceImage": {"repository": "registry.example/inference", "tag": "3.2"},
    "s3Mount": {
        "prefix": "p",
        "endpointUrl": "http://minio.example:9000",
        "release": "2026-11",
        "credentialsSecret": "aws",
        "cacheSize": "40GiB",
        "cachePath": "/data/cache",
    },
    "mount": {"kind": "DaemonSet", "env": {"HARDTACK_CONNECTIONS": 8}},
    "replicas": 2,
    "groundlightApiToken": "api_secret",
    "httpEnabled": True,
    "tlsSecret": "certificate",
    "logLevel": "DEBUG",
    "logFormat": "json",
    "configFile": "detectors: []\n",
    "detectors": [
        {"id": "det_x", "query": "Is it?"},
        {"id": "det_y", "query": "Is it?", "server": {"image": "registry.example/scratches:1.4"}},
    ],
    "proxy": "http://proxy.example:3128",
    "noProxy": "minio.example",
    "endpoint": {"env": {"HARDTACK_ENDPOINT_DEADLINE": "5s"}},
    "nodeSelector": {"edge": "true"},
    "tolerations": [{"operator": "Exists"}],
    "priorityClassName": "system-node-critical",
    "inferenceFlavor": "gpu",
    "inferenceDeployment": {
        "resources": {
            "requests": {"cpu": "1", "memory": "1Gi"},
            "limits": {"cpu": 2, "memory": "2Gi"},
        }
    },
    "ecrRegistry": "123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "k3sConfig": {"restart": True, "systemReserved": "1GiB"},
}
COMBINATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": EVERYTHING,
    "daemonset": {"mount": {"kind": "DaemonSet"}},
    "mounted by the host": {"mount": {"kind": "None"}},
    "ordinary sidecar": {"mount": {"nativeSidecar": "never", "keeper": {"enabled": False}}},
    "no jobs": {"k3sConfig": {"enabled": False}, "networkHealer": {"enabled": False}},
    "healer alone": {"k3sConfig": {"enabled": False}},
    "memory alone": {"networkHealer": {"enabled": False}},
    "ecr": {"ecrRegistry": EVERYTHING["ecrRegistry"], "ecrCredentials": {"awsSecret": "aws"}},
    "no cloud": {"upstreamEndpoint": "", "networkPolicy": {"enabled": False}},
    "own account": {"serviceAccount": {"create": False, "name": "own"}},
    "own token": {"groundlightApiTokenSecret": "mine", "groundlightApiToken": "ignored"},
    "cluster address": {"service": {"type": "ClusterIP"}, "s3Mount": {"unsigned": False}},
    "jetson": {"inferenceFlavor": "jetson", "imagePullPolicy": "Never"},
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_combination(name: str) -> None:
    """Helm 3 and 4 render the same, and the oldest and the newest Kubernetes take it."""
    made = {v: rendered(COMBINATIONS[name], version=v, kubernetes=VERSIONS[-1]) for v in (3, 4)}
    assert _sorted(made[3]) == _sorted(made[4])
    oldest = rendered(COMBINATIONS[name], kubernetes=VERSIONS[0])
    for manifests in (made[4], oldest):
        assert find(manifests, "Deployment", "edge-endpoint")
    for manifest in made[4]:
        validate(manifest, VERSIONS[-1])
    for manifest in oldest:
        validate(manifest, VERSIONS[0])


def _sorted(manifests: list[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda m: (m["kind"], m["metadata"]["name"]))


@pytest.mark.parametrize("kubernetes", VERSIONS)
def test_every_kubernetes(kubernetes: str) -> None:
    manifests = rendered(EVERYTHING, kubernetes=kubernetes)
    assert find(manifests, "Deployment", "edge-endpoint")
    for manifest in manifests:
        validate(manifest, kubernetes)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"s3Mount": {"buckett": "x"}}, ("s3Mount", "buckett", "not allowed")),
        ({"imagePullPolicy": "Sometimes"}, ("imagePullPolicy", "IfNotPresent")),
        ({"edgeEndpointPort": "many"}, ("edgeEndpointPort", "integer")),
        ({"s3Mount": {"mountPath": "/models"}}, ("s3Mount", "mountPath")),
    ],
)
def test_what_the_schema_refuses(
    version: int, values: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(Refused) as caught:
        template(values, version=version)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("name", ["default", "everything", "ordinary sidecar"])
def test_the_policy_finds_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(template(COMBINATIONS[name]))
    for path in (tmp_path / "rendered.yaml", CHART):
        done = run("policy", "check", path, "--strict", env={"HELM": str(helm(3))})
        assert (done.returncode, done.stdout) == (0, "nothing found\n"), done.stderr
    assert "hardtack:ignore" not in "".join(
        file.read_text() for file in CHART.rglob("*") if file.is_file()
    )


@pytest.mark.parametrize("version", [3, 4])
def test_the_mount_is_a_native_sidecar_where_there_are_some(version: int) -> None:
    new = find(rendered(version=version, kubernetes="1.29.0"), "Deployment", "edge-endpoint")
    spec = new["spec"]["template"]["spec"]
    assert [c["name"] for c in spec["containers"]] == ["endpoint"]
    assert spec["initContainers"][0]["name"] == "check-values"
    mount = spec["initContainers"][-1]
    assert (mount["name"], mount["restartPolicy"]) == ("mount", "Always")
    old = find(rendered(version=version, kubernetes="1.28.8+k3s1"), "Deployment", "edge-endpoint")
    spec = old["spec"]["template"]["spec"]
    assert [c["name"] for c in spec["containers"]] == ["endpoint", "mount"]
    assert "restartPolicy" not in spec["containers"][1]


def test_the_mount_reaches_its_readers() -> None:
    found = containers(find(rendered(), "Deployment", "edge-endpoint"))
    mount, endpoint = found["mount"], found["endpoint"]
    weights = {"name": "weights", "mountPath": "/opt/groundlight/edge"}
    assert weights | {"mountPropagation": "Bidirectional"} in mount["volumeMounts"]
    seen = weights | {"mountPropagation": "HostToContainer", "readOnly": True}
    assert seen in endpoint["volumeMounts"]


def test_the_environment_of_todays_sidecar() -> None:
    mount = containers(find(rendered(), "Deployment", "edge-endpoint"))["mount"]
    env = {e["name"]: e["value"] for e in mount["env"]}
    assert {k: env[k] for k in ("S3_BUCKET", "S3_REGION", "MOUNT_PATH", "CACHE_PATH")} == {
        "S3_BUCKET": "pinamod-artifacts-public",
        "S3_REGION": "us-west-2",
        "MOUNT_PATH": "/opt/groundlight/edge/pinamod-mount",
        "CACHE_PATH": "/opt/groundlight/edge/pinamod-mount-cache",
    }
    assert env["HARDTACK_UNSIGNED"] == "true"
    signed = rendered({"s3Mount": {"credentialsSecret": "aws"}})
    mount = containers(find(signed, "Deployment", "edge-endpoint"))["mount"]
    assert "HARDTACK_UNSIGNED" not in {e["name"] for e in mount["env"]}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_only_fuse_is_privileged(name: str) -> None:
    privileged = set()
    for manifest, spec in pod_specs(rendered(COMBINATIONS[name])):
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"]["memory"]
            if context.get("privileged"):
                privileged.add(container["name"])
                continue
            assert context["capabilities"]["drop"] == ["ALL"]
            if manifest["metadata"]["name"] != "edge-endpoint-host" and (
                container["name"] != "directories"
            ):
                assert (context["runAsUser"], context["runAsNonRoot"]) == (65532, True)
                assert context["allowPrivilegeEscalation"] is False
                assert "add" not in context["capabilities"]
    assert privileged <= {"mount", "keeper"}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_no_image_but_our_own(name: str) -> None:
    values = COMBINATIONS[name]
    policy = values.get("imagePullPolicy", "IfNotPresent")
    manifests = rendered(values)
    images = {
        (c["image"], c["imagePullPolicy"])
        for _, spec in pod_specs(manifests)
        for c in (*spec.get("initContainers", ()), *spec["containers"])
    }
    ((image, found),) = images
    assert ("hardtack:0.1.0" in image, found) == (True, policy)
    assert not [m for m in manifests if m["kind"] in ("Job", "CronJob")]
    assert not [m for m in manifests for r in m.get("rules", ()) if "batch" in r["apiGroups"]]


def test_another_inference_image_is_one_that_tools_find(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(template(EVERYTHING))
    found = json.loads(run("images", "scan", tmp_path, "--json").stdout)
    named = {image["image"] for image in found["images"] if not image["hidden"]}
    assert {"registry.example/inference:3.2", "registry.example/scratches:1.4"} <= named


def test_the_configuration_arrives_as_it_was_written() -> None:
    text = "global_config:\n  refresh_rate: 60\n\ndetectors: []\n"
    given = find(rendered({"configFile": text}), "ConfigMap", "edge-endpoint")["data"]
    assert given["edge-config.yaml"] == text


def test_secrets_stand_in_secrets_alone() -> None:
    held = [m for m in rendered(EVERYTHING) if "api_secret" in yaml.safe_dump(m)]
    assert [(m["kind"], m["metadata"]["name"]) for m in held] == [("Secret", "edge-endpoint-token")]
    assert "ignored" not in template(COMBINATIONS["own token"])


def test_what_changes_starts_the_pod_anew() -> None:
    def mark(values: dict[str, Any]) -> str:
        deployment = find(rendered(values), "Deployment", "edge-endpoint")
        annotations = deployment["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/configuration"])

    assert mark({}) == mark({})
    assert mark({"configFile": "detectors: []\n"}) != mark({})


def test_ports_follow_urls() -> None:
    values = {"s3Mount": {"endpointUrl": "http://minio.example:9000"}, "proxy": "http://p:3128"}
    policy = find(rendered(values), "NetworkPolicy", "edge-endpoint")
    assert [p["port"] for p in policy["spec"]["egress"][0]["ports"]] == [
        53,
        53,
        443,
        6443,
        9000,
        3128,
    ]
    inference = find(rendered(), "NetworkPolicy", "edge-endpoint-inference")
    assert inference["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in inference["spec"]


def test_whatever_leaves_the_box_knows_the_proxy() -> None:
    seen = set()
    for _, spec in pod_specs(rendered(EVERYTHING)):
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            env = {e["name"]: e.get("value") for e in container.get("env", ())}
            if env.get("HTTPS_PROXY") == "http://proxy.example:3128":
                assert env["NO_PROXY"].endswith(".svc,.cluster.local,minio.example")
                seen.add(container["name"])
    assert seen == {"endpoint", "mount", "ecr-credentials"}


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_notes_command_asks_for_what_the_chart_made(
    values: dict[str, Any], tmp_path: Path
) -> None:
    done = subprocess.run(
        [helm(4), "install", "edge", CHART, "--namespace", "edge", "--values", "-",
         "--dry-run=client"],
        input=json.dumps(values), capture_output=True, text=True, check=True,
    )  # fmt: skip
    notes = done.stdout.partition("NOTES:")[2]
    line = notes[notes.index("  hardtack ready ") :].replace("\\\n", " ")
    words = [word for word in shlex.split(line)[1:] if word != "--fetch"]
    given = dict(itertools.pairwise(words))
    made = {c["name"]: c for _, spec in pod_specs(rendered(values))
            for c in spec["containers"] + spec.get("initContainers", [])}  # fmt: skip
    env, state = (
        {e["name"]: e.get("value") for e in made[name]["env"]} for name in ("mount", "endpoint")
    )
    assert given["ready"] == f"s3://{env['S3_BUCKET']}"
    assert given["--cache"] == env["CACHE_PATH"]
    assert given.get("--prefix") == env.get("HARDTACK_PREFIX")
    assert given.get("--endpoint-url") == env.get("HARDTACK_ENDPOINT_URL")
    assert given.get("--follow") == env.get("HARDTACK_FOLLOW")
    assert ("--unsigned" in words) == ("HARDTACK_UNSIGNED" in env)
    assert given["--state"] == state["HARDTACK_ENDPOINT_STATE"]
    assert state["HARDTACK_ENDPOINT_MODELS"] == f"{env['MOUNT_PATH']}/{given['--models']}"
    there = run(*words, "--root", tmp_path, "--cache", tmp_path / "cache", cwd=tmp_path)
    assert (there.returncode, "NOT READY" in there.stdout) == (1, True), there.stderr


def test_a_single_endpoint_does_not_block_a_drain() -> None:
    assert not [m for m in rendered() if m["kind"] == "PodDisruptionBudget"]
    assert [m for m in rendered(EVERYTHING) if m["kind"] == "PodDisruptionBudget"]


def test_every_value_is_read_somewhere() -> None:
    """No value that a person may set is without effect."""
    text = "".join(f.read_text() for f in (CHART / "templates").rglob("*") if f.is_file())
    text = text.replace("$s3.", ".Values.s3Mount.").replace("$image.", ".Values.image.")
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    names = [
        f"{key}.{inner}" if inner else key
        for key, value in values.items() if key != "inferenceImage"  # read as $image too
        for inner in (value if isinstance(value, dict) and value else [""])
    ]  # fmt: skip
    assert [name for name in names if f".Values.{name}" not in text] == []
