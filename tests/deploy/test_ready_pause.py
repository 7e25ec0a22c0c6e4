"""The image that holds each pod: no manifest names it, and without it none starts."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from hardtack.deploy.facts import k3s
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.ready import pause

PAUSE = "docker.io/rancher/mirrored-pause:3.6"
CONFIG = "var/lib/rancher/k3s/agent/etc/containerd/config.toml"


def _airgap(directory: Path, *names: str) -> None:
    """An archive as k3s's releases have it."""
    directory.mkdir()
    text = json.dumps([{"RepoTags": [*names]}]).encode()
    with tarfile.open(directory / "k3s-airgap-images-amd64.tar", "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))


def _missing(tmp_path: Path, found: K3s | None, *there: str, stored: tuple[str, ...] = ()) -> str:
    rows = pause.row(found, there, stored, tmp_path / "images")
    return rows[0].name if rows else ""


def test_a_lock_without_it_is_told(tmp_path: Path) -> None:
    assert _missing(tmp_path, K3s(), "docker.io/app/camera:v1") == "k3s's pause image"
    assert _missing(tmp_path, K3s(pause="rancher/mirrored-pause:3.6"), "docker.io/a:v1") == PAUSE
    assert _missing(tmp_path, K3s(pause="rancher/mirrored-pause:3.10"), PAUSE).endswith(":3.10")
    assert _missing(tmp_path, None, "docker.io/app/camera:v1") == ""


def test_wherever_it_is_it_counts(tmp_path: Path) -> None:
    wanted = K3s(pause="rancher/mirrored-pause:3.6")
    assert _missing(tmp_path, wanted, PAUSE) == ""
    assert _missing(tmp_path, wanted, stored=(PAUSE,)) == ""
    assert _missing(tmp_path, K3s(), "registry.example:5000/rancher/mirrored-pause:3.6") == ""
    assert _missing(tmp_path, K3s(), "registry.k8s.io/pause@sha256:" + "a" * 64) == ""
    _airgap(tmp_path / "images", "rancher/mirrored-pause:3.6", "rancher/klipper-lb:v0.4")
    assert _missing(tmp_path, wanted) == ""


@pytest.mark.parametrize("line", [
    '    sandbox_image = "rancher/mirrored-pause:3.6"',
    "  sandbox = 'rancher/mirrored-pause:3.6'",
])  # fmt: skip
def test_containerds_configuration_says_which(tmp_path: Path, line: str) -> None:
    """That of containerd 1.7, and that of 2; k3s has put its registry's name before it there."""
    file = tmp_path / CONFIG
    file.parent.mkdir(parents=True)
    file.write_text(f"version = 3\n[plugins.'x']\n{line}\n")
    found = k3s.read(tmp_path)
    assert found is not None
    assert found.pause == "rancher/mirrored-pause:3.6"
