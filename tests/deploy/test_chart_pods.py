"""What the chart's pods hold: probes, credentials, nodes, and whom they may reach."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from hardtack.core.units import parse_duration
from hardtack.deploy.requirements import Direction, When, requirements, settings_of
from hardtack.deploy.valuefiles import over
from tests.deploy.test_chart import COMBINATIONS, EVERYTHING
from tests.support.chart import CHART, Manifest, containers, find, pod_specs, rendered

pytestmark = pytest.mark.needs("npm")

API = 6443
SIGNED = {"s3Mount": {"credentialsSecret": "aws"}}


def _mounts(values: dict[str, Any]) -> list[tuple[Manifest, Manifest]]:
    """(pod's spec, container) of each mount."""
    return [
        (spec, container)
        for _, spec in pod_specs(rendered(values))
        for container in (*spec.get("initContainers", ()), *spec["containers"])
        if container["name"] == "mount" and container["command"][:2] == ["hardtack", "mount"]
    ]


@pytest.mark.parametrize("name", ["default", "daemonset", "ordinary sidecar"])
def test_each_probe_of_the_mount_reads_through_it_in_time(name: str) -> None:
    ((_, mount),) = _mounts(COMBINATIONS[name])
    for probe in (mount[kind] for kind in ("startupProbe", "livenessProbe", "readinessProbe")):
        *words, seconds = probe["exec"]["command"]
        assert words == ["hardtack", "health", "/opt/groundlight/edge/pinamod-mount", "--timeout"]
        assert parse_duration(seconds) < probe["timeoutSeconds"]


def test_what_starts_after_the_mount_waits_five_seconds_for_a_look_at_it_not_ten() -> None:
    values = over(SIGNED, {"mount": {"startupProbe": {"failureThreshold": 7}}})
    ((_, mount),) = _mounts(values)
    probe = mount["startupProbe"]
    assert (probe["periodSeconds"], probe["failureThreshold"]) == (5, 14)  # 7 times 10 s, still


@pytest.mark.parametrize("kind", ["Sidecar", "DaemonSet"])
def test_credentials_are_read_only_optional_and_renewed_in_place(kind: str) -> None:
    """A whole directory of a Secret: the kubelet renews its files, which it doesn't with one that
    is mounted by a subPath or told as environment."""
    ((spec, mount),) = _mounts(over(SIGNED, {"mount": {"kind": kind}}))
    (volume,) = (v for v in spec["volumes"] if v["name"] == "aws")
    assert volume["secret"]["secretName"] == "aws"
    assert volume["secret"]["optional"] is True
    (place,) = (m for m in mount["volumeMounts"] if m["name"] == "aws")
    assert place == {"name": "aws", "mountPath": "/etc/hardtack/aws", "readOnly": True}
    env = {e["name"]: e["value"] for e in mount["env"]}
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        assert env[variable].startswith("/etc/hardtack/aws/")
    assert not [v for s, _ in _mounts({}) for v in s["volumes"] if v["name"] == "aws"]


def test_on_a_cluster_each_node_has_a_mount_and_no_two_endpoints_share_one() -> None:
    manifests = rendered({"mount": {"kind": "DaemonSet"}, "replicas": 3})
    on_nodes = {m["metadata"]["name"] for m in manifests if m["kind"] == "DaemonSet"}
    assert {"edge-endpoint-mount", "edge-endpoint-keeper"} <= on_nodes
    deployment = find(manifests, "Deployment", "edge-endpoint")
    assert deployment["spec"]["replicas"] == 3
    assert "mount" not in containers(deployment)
    affinity = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    (apart,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert apart["labelSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("name", COMBINATIONS)
def test_no_pod_may_reach_a_port_that_no_requirement_names(name: str) -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    values = over(defaults, COMBINATIONS[name])
    needed = {
        one.port for one in requirements(settings_of(values))
        if one.direction is Direction.OUT and one.when != (When.BUILD,)
    } | {API}  # fmt: skip
    policies = [m for m in rendered(COMBINATIONS[name]) if m["kind"] == "NetworkPolicy"]
    assert bool(policies) == values["networkPolicy"]["enabled"]
    for policy in policies:
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        ports = {
            port["port"] for way in policy["spec"].get("egress", ()) if "to" not in way
            for port in way["ports"]
        }  # fmt: skip
        assert ports <= needed, policy["metadata"]["name"]


def test_the_policies_are_there_for_every_pod_that_is_not_on_the_hosts_network() -> None:
    manifests = rendered(EVERYTHING)
    chosen = [m["spec"]["podSelector"]["matchLabels"] for m in manifests
              if m["kind"] == "NetworkPolicy"]  # fmt: skip
    for manifest in manifests:
        if manifest["kind"] not in ("Deployment", "DaemonSet"):
            continue
        pod = manifest["spec"]["template"]
        covered = [c for c in chosen if c.items() <= pod["metadata"]["labels"].items()]
        assert bool(covered) != bool(pod["spec"].get("hostNetwork")), manifest["metadata"]["name"]
