"""From what there is today: another mount's sidecar, edge-endpoint's values."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hardtack.deploy import edge_values
from hardtack.deploy.valuefiles import over
from hardtack.mount import mountinfo
from tests.support.chart import containers, find, rendered
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.kubernetes import validate
from tests.support.s3 import S3Server, s3_server
from tests.support.waiting import until

SIDECAR = Path(__file__).parent / "fixtures" / "sidecar"
ROOT = Path(__file__).parents[2]
OURS = {
    "image": "registry.example/hardtack:0.1.0-root",
    "command": ["hardtack", "mount", "-f", "/host-root$(MOUNT_PATH)",
                "--cache", "/host-root$(CACHE_PATH)"],
}  # fmt: skip


def expanded(word: str, env: dict[str, str]) -> str:
    """`$(NAME)` as the kubelet reads it."""
    return re.sub(r"\$\((\w+)\)", lambda found: env[found[1]], word)


@pytest.mark.needs("npm")
def test_image_and_command_are_all_that_changes() -> None:
    before, after = (
        find(rendered(values, chart=SIDECAR), "Deployment", "cameras")
        for values in ({}, {"mount": OURS})
    )
    for deployment in (before, after):
        container = containers(deployment)["mount-s3"]
        assert "mount-s3" in container.pop("image") or deployment is after
        del container["command"]
    assert before == after
    page = (ROOT / "docs" / "moving-from-mount-s3.md").read_text()
    (block,) = re.findall(r"<!-- command -->\n```yaml\n(.*?)```", page, re.DOTALL)
    assert yaml.safe_load(block) == OURS
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "FROM hardtack AS root\nUSER 0:0\n" in dockerfile


@pytest.mark.needs("npm", "root", "fuse")
def test_our_command_mounts_in_its_place(tmp_path: Path) -> None:
    """What the kubelet would run, with a host's root of the test's own."""
    with s3_server() as s3:
        s3.create_bucket("weights")
        mounts_in_its_place(s3, tmp_path)


def mounts_in_its_place(s3: S3Server, tmp_path: Path) -> None:
    s3.put("weights", "a/model.bin", b"weights" * 1000)
    deployment = find(rendered({"mount": OURS}, chart=SIDECAR), "Deployment", "cameras")
    container = containers(deployment)["mount-s3"]
    env = {e["name"]: e["value"] for e in container["env"]}
    root = tmp_path / "host"
    command = [expanded(w, env).replace("/host-root", str(root)) for w in container["command"]]
    process = subprocess.Popen(
        [*HARDTACK, *command[1:]],
        env=clean_environment(s3.env | env | {"HARDTACK_KEEP_FREE": "0"}),
        stderr=subprocess.PIPE,
    )
    point = Path(f"{root}{env['MOUNT_PATH']}")
    try:
        until(lambda: process.poll() is not None or mountinfo.identity(str(point), 5.0))
        assert (point / "a" / "model.bin").read_bytes() == b"weights" * 1000
        assert os.listdir(f"{root}{env['CACHE_PATH']}")
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors.decode()
    assert not mountinfo.mounted_at(str(point))


EDGE: dict[str, Any] = {
    "namespace": "edge",
    "imageTag": "release",
    "imagePullPolicy": "Always",
    "groundlightApiToken": "api_x",
    "groundlightEndpoint": "https://api.example",
    "logLevel": "INFO",
    "s3Mount": {"bucket": "b-b", "region": "us-east-1", "cachePath": "/data/c"},
    "inferenceDeployment": {"cpuThreads": 2, "startupProbe": {"failureThreshold": 100}},
    "k3sConfig": {"enabled": False},
    "configFile": "detectors: []\n",
    "loggingMode": "local-splunk",
    "balena": {"deviceUuid": "abc"},
    "typo": 1,
}


def imported(values: dict[str, Any], directory: Path, *options: str) -> Any:
    (directory / "values.yaml").write_text(yaml.safe_dump(values))
    return run("deploy", "import-values", directory / "values.yaml", *options)


def test_every_value_has_a_row(tmp_path: Path) -> None:
    found = json.loads(imported(EDGE, tmp_path, "--json").stdout)
    rows = {row["value"]: (row["outcome"], row["now"]) for row in found["rows"]}
    assert rows == {
        "namespace": ("kept", "namespace"),
        "imageTag": ("dropped", ""),
        "imagePullPolicy": ("changed", "imagePullPolicy"),
        "groundlightApiToken": ("kept", "groundlightApiToken"),
        "groundlightEndpoint": ("renamed", "upstreamEndpoint"),
        "logLevel": ("changed", "logLevel"),
        "s3Mount.bucket": ("kept", "s3Mount.bucket"),
        "s3Mount.region": ("kept", "s3Mount.region"),
        "s3Mount.cachePath": ("kept", "s3Mount.cachePath"),
        "inferenceDeployment.cpuThreads": ("kept", "inferenceDeployment.cpuThreads"),
        "inferenceDeployment.startupProbe.failureThreshold": (
            "dropped", "",
        ),
        "k3sConfig.enabled": ("kept", "k3sConfig.enabled"),
        "configFile": ("kept", "configFile"),
        "loggingMode": ("dropped", ""),
        "balena.deviceUuid": ("dropped", ""),
        "typo": ("dropped", ""),
        "inferenceFlavor": ("added", "inferenceFlavor"),
        "image.repository": ("added", "image.repository"),
    }  # fmt: skip
    assert all(row["why"] for row in found["rows"] if row["outcome"] not in ("kept", "renamed"))
    assert found["values"]["imagePullPolicy"] == "IfNotPresent"
    assert found["values"]["inferenceFlavor"] == "gpu"


EVERY = {
    "namespace": "edge", "imageTag": "v1", "edgeEndpointTag": "v1", "inferenceTag": "v1",
    "useMinimalImage": True, "imagePullPolicy": "Always", "httpEnabled": False,
    "edgeEndpointPort": 30101, "edgeEndpointHttpsPort": 30143, "inferenceFlavor": "cpu",
    "groundlightApiToken": "api_x", "upstreamEndpoint": "https://api.example",
    "awsRegion": "us-west-2", "ecrRegistry": "123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "logLevel": "INFO", "loggingMode": "cloud-splunk", "configFile": "detectors: []\n",
    "s3Mount": {
        "bucket": "abc", "region": "us-west-2", "mountPath": "/opt/m", "cachePath": "/opt/c",
    },
    "modelUpdater": {"rolloutReadyTimeoutSeconds": 1800},
    "inferenceDeployment": {"cpuThreads": 4, "startupProbe": {"failureThreshold": 540}},
    "k3sConfig": {
        "enabled": True, "evictionHardPercent": 15, "evictionSoftPercent": 25,
        "evictionHardMinGB": 4, "evictionSoftMinGB": 8, "evictionGracePeriod": "10s",
    },
    "networkHealer": {"enabled": True, "checkIntervalSeconds": 30},
    "balena": {"deviceUuid": "abc"},
}  # fmt: skip
"""Every value that installations of edge-endpoint set."""


def test_every_value_of_an_installation_is_known(tmp_path: Path) -> None:
    found = json.loads(imported(EVERY, tmp_path, "--json").stdout)
    unknown = [r["value"] for r in found["rows"] if "no such value" in r["why"]]
    assert unknown == []
    assert run("job", "check-values", "--values", json.dumps(found["values"])).returncode == 0


def test_every_value_of_an_installation_has_its_line() -> None:
    """By its name, by that of the values beside it, or by its group's."""
    page = (ROOT / "docs/moving-from-edge-endpoint.md").read_text()
    for name, _ in edge_values._leaves(EVERY):
        group, _, last = name.rpartition(".")
        there = [f"`{name}", f"`{group}.*`", *([f"`{last}`"] if f"`{group}." in page else [])]
        assert any(one in page for one in there), name


@pytest.mark.parametrize(
    ("given", "value", "said"),
    [
        ({"s3Mount": {"buckt": "b"}}, "s3Mount.buckt", "Did you mean 's3Mount.bucket'?"),
        ({"imagetag": "v1"}, "imagetag", "Did you mean 'imageTag'?"),
        ({"k3sConfig": 3}, "k3sConfig", "values by name are expected there, such as k3sConfig."),
        ({"nothingLikeIt": 3}, "nothingLikeIt", "no such value is known of edge-endpoint; ours"),
    ],
)
def test_a_mistyped_value_is_told(
    tmp_path: Path, given: dict[str, Any], value: str, said: str
) -> None:
    found = json.loads(imported(given, tmp_path, "--json").stdout)
    (row,) = (row for row in found["rows"] if row["value"] == value)
    assert row["outcome"] == "dropped"
    assert said in row["why"]


@pytest.mark.needs("npm")
def test_the_chart_takes_what_was_imported(tmp_path: Path) -> None:
    done = imported(EDGE, tmp_path)
    assert done.returncode == 0 and "dropped" in done.stderr
    values = yaml.safe_load(done.stdout)
    env = containers(find(rendered(values), "Deployment", "edge-endpoint"))["mount"]["env"]
    assert {"name": "CACHE_PATH", "value": "/data/c"} in env
    assert run("job", "check-values", "--values", json.dumps(values)).returncode == 0


def test_a_tag_of_this_box_alone_is_never_pulled(tmp_path: Path) -> None:
    for given in ({"imageTag": "dev"}, {"imageTag": "dev", "imagePullPolicy": "Always"}):
        assert yaml.safe_load(imported(given, tmp_path).stdout)["imagePullPolicy"] == "Never"


def test_a_file_may_hold_a_token(tmp_path: Path) -> None:
    done = imported(EDGE, tmp_path, "-o", str(tmp_path / "ours.yaml"))
    assert done.stdout.startswith("value") and done.stderr == ""
    assert (tmp_path / "ours.yaml").stat().st_mode & 0o777 == 0o600
    refused = run("deploy", "import-values", ROOT / "README.md")
    assert refused.returncode == 11, refused.stderr


@pytest.mark.needs("npm")
def test_the_values_of_the_docs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    (block,) = re.findall(r"<!-- values -->\n```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "values.yaml").write_text(block)
    checked = run("job", "check-values", "--file", tmp_path / "values.yaml")
    assert checked.returncode == 0, checked.stdout
    manifests = rendered(yaml.safe_load(block))
    given = find(manifests, "ConfigMap", "edge-endpoint")["data"]
    read_detectors = yaml.safe_load(given["detectors.yaml"])["detectors"]
    assert [one["name"] for one in read_detectors] == ["gate"]
    (block,) = re.findall(r"<!-- cluster -->\n```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "cluster.yaml").write_text(block)
    both = [
        word for name in ("values", "cluster") for word in ("--file", tmp_path / f"{name}.yaml")
    ]
    checked = run("job", "check-values", *both)
    assert checked.returncode == 0, checked.stdout
    manifests = rendered(over(yaml.safe_load(given["values.yaml"]), yaml.safe_load(block)))
    assert find(manifests, "Deployment", "edge-endpoint")["spec"]["replicas"] == 2
    kinds = {m["metadata"]["name"] for m in manifests if m["kind"] == "DaemonSet"}
    assert kinds == {"edge-endpoint-mount", "edge-endpoint-keeper"}


@pytest.mark.needs("npm")
def test_the_policy_of_the_docs_is_one() -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    (block,) = re.findall(r"<!-- policy -->\n```yaml\n(.*?)```", page, re.DOTALL)
    policy = yaml.safe_load(block)
    validate(policy, "1.34")
    ours = find(rendered(), "NetworkPolicy", "edge-endpoint")
    assert ours["metadata"]["namespace"] == policy["metadata"]["namespace"]
