"""The chart: what it renders, and that a cluster would take it."""

from __future__ import annotations

import pytest

from tests.support.chart import containers, find, rendered

pytestmark = pytest.mark.needs("npm")


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
    assert mount["securityContext"]["privileged"] is True
    weights = {"name": "weights", "mountPath": "/opt/groundlight/edge"}
    assert weights | {"mountPropagation": "Bidirectional"} in mount["volumeMounts"]
    seen = weights | {"mountPropagation": "HostToContainer", "readOnly": True}
    assert seen in endpoint["volumeMounts"]
