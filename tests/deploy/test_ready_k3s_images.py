"""Images that no manifest names, and what is asked of a registry though the image is here."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from hardtack.deploy.facts import k3s
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.ready import k3s_images
from hardtack.images import airgap
from hardtack.manifests.reference import Reference

PAUSE = "docker.io/rancher/mirrored-pause:3.6"
CONFIG = "var/lib/rancher/k3s/agent/etc/containerd/config.toml"


def _airgap(directory: Path, *names: str) -> Path:
    """An archive as k3s's releases have it."""
    directory.mkdir(exist_ok=True)
    path = directory / "k3s-airgap-images-amd64.tar"
    text = json.dumps([{"RepoTags": [*names]}]).encode()
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return path


def _missing(tmp_path: Path, found: K3s | None, *there: str, stored: tuple[str, ...] = ()) -> str:
    known = frozenset({*there, *stored})
    rows = [] if found is None else k3s_images.started(found, tmp_path / "images", known)
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


def test_bundles_are_read_once_and_only_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read from end to end, and a watch looks every few minutes."""
    read: list[Path] = []

    def counted(path: Path) -> tuple[Reference, ...]:
        read.append(path)
        return in_tarball(path)

    in_tarball = airgap.in_tarball
    monkeypatch.setattr(airgap, "in_tarball", counted)
    bundles, klipper = tmp_path / "images", "docker.io/rancher/klipper-lb:v0.4"
    archive = _airgap(bundles, PAUSE)
    (bundles / "k3s-images.txt").write_text(f"{klipper}\n")
    wanted = K3s(pause=PAUSE)
    assert k3s_images.started(wanted, bundles, frozenset({PAUSE, klipper})) == []
    assert read == []
    for _ in range(3):
        assert [r.name for r in k3s_images.started(wanted, bundles, frozenset())] == [klipper]
    assert read == [archive]
    changed = archive.stat().st_mtime + 1
    assert _airgap(bundles, PAUSE, klipper) == archive
    os.utime(archive, (changed, changed))
    assert k3s_images.started(wanted, bundles, frozenset()) == []
    assert read == [archive, archive]


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


@pytest.mark.parametrize(("told", "pause"), [
    ("rancher/mirrored-pause:3.6", "registry.example/rancher/mirrored-pause:3.6"),
    ("site/pause:9", "site/pause:9"),
])  # fmt: skip
def test_an_image_that_k3s_was_told_since(tmp_path: Path, told: str, pause: str) -> None:
    """The next start writes it where the last one wrote another."""
    written = tmp_path / CONFIG
    written.parent.mkdir(parents=True)
    written.write_text('sandbox = "registry.example/rancher/mirrored-pause:3.6"\n')
    config = tmp_path / k3s.CONFIG / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(f"pause-image: {told}\n")
    found = k3s.read(tmp_path)
    assert found is not None
    assert found.pause == pause
