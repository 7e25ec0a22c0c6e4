"""A deployment as boxes with cameras have it: the whole table of its images."""

from pathlib import Path

import pytest

from hardtack.manifests.model import FoundImage
from hardtack.manifests.scan import scan
from tests.support.helm import helm

BOX = Path(__file__).parent / "fixtures" / "camera-box"
OWN = "registry.example.com/cameras"
LATEST = "Always by default"

RAW = [
    ("chart/files/inference.yaml:10", f"{OWN}/inference-minimal:stable", "Always", "hidden"),
    ("chart/files/inference.yaml:10", f"{OWN}/inference:stable", "Always", "hidden"),
    ("chart/templates/_credentials.yaml:5", "example/cloud-cli:latest", "IfNotPresent", ""),
    ("chart/templates/deployment.yaml:12", f"{OWN}/endpoint:stable", "Always", ""),
    ("chart/templates/deployment.yaml:15", "busybox:1.36", "IfNotPresent by default", ""),
    ("chart/templates/deployment.yaml:18", f"{OWN}/endpoint:stable", "Always", ""),
    ("chart/templates/deployment.yaml:22", "alpine:3.20", "IfNotPresent by default", ""),
    ("chart/templates/tests/connection.yaml:8", "busybox", LATEST, ""),
    ("chart/values.yaml:8", "example/collector:0.91", "", ""),
    ("preload/Dockerfile.gpu:2", "rancher/k3s:v1.28.8-k3s1", "", ""),
    ("preload/Dockerfile.gpu:3", "alpine:3.20", "", ""),
    ("preload/Dockerfile.gpu:5", "example/cloud-cli:latest", "", ""),
    ("preload/Dockerfile.gpu:6", "busybox:1.36", "", ""),
    ("preload/Dockerfile.gpu:7", "ubuntu:22.04", "", ""),
    ("preload/k3s-images.txt:1", "rancher/mirrored-pause:3.6", "", ""),
]


def row(image: FoundImage) -> tuple[str, str, str, str]:
    policy = ""
    if image.policy:
        policy = f"{image.policy.value}{'' if image.policy.explicit else ' by default'}"
    return (
        f"{image.place.file.relative_to(BOX)}:{image.place.line}",
        image.reference.familiar if image.reference else image.reason,
        policy,
        "hidden" if image.hidden else "",
    )


def test_raw() -> None:
    result = scan([BOX], helm="raw")
    assert sorted(map(row, result.images)) == sorted(RAW)
    assert not result.problems


@pytest.mark.needs("npm")
@pytest.mark.parametrize("version", [3, 4])
def test_with_helm(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELM", str(helm(version)))
    result = scan([BOX], helm="auto")
    assert sorted(map(row, result.images)) == sorted(RAW)
    assert not result.problems
