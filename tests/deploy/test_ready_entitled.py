"""Images that are on the box, and whether the kubelet gives them to pods with no registry asked."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hardtack.deploy.facts import kubelet, pulls
from hardtack.deploy.facts.model import K3s
from hardtack.deploy.ready import entitled
from hardtack.images.audit import ids
from hardtack.images.containerd import Containerd
from hardtack.images.install import install
from hardtack.images.lockfile import read_lock
from hardtack.images.platforms import Platform
from tests.support.containerd import containerd
from tests.support.ready import ReadyBox, ready_box, ship

CAMERA, READER = "docker.io/app/camera:v1", "registry.example/site/cameras/reader:v2"
OURS = {CAMERA: "sha256:" + "c" * 64, READER: "sha256:" + "d" * 64}
POLICY, ALLOWED = kubelet.CREDENTIALS, kubelet.ALLOWED
_SECRET = {"uid": "0-1", "namespace": "edge", "name": "ecr", "credentialHash": "ab"}
_ACCOUNT = {"uid": "0-2", "namespace": "edge", "name": "edge-endpoint"}
_UNREADABLE = "the kubelet can't read its note of it"
_GROUP = "kubelet.config.k8s.io/v1alpha1"
_DAMAGED = ["", "{", "\0" * 200, "null", "[" * 100_000, '{"kind":"ImagePullInt',
            json.dumps({"kind": "ImagePreloadedRecord", "apiVersion": _GROUP}),
            '{"kind": "ImagePullIntent", "image": "docker.io/app/camera:v1"}']  # fmt: skip
"""What a power cut leaves of a note, and what the kubelet takes for none of its own."""


def _pulled(root: Path, image: str, credentials: dict[str, Any] | str) -> Path:
    """As the kubelet notes an image that it pulled."""
    file = root / "pulled" / f"sha256-{hashlib.sha256(image.encode()).hexdigest()}"
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "kind": "ImagePulledRecord", "apiVersion": _GROUP,
        "lastUpdatedTime": "2026-01-01T00:00:00Z", "imageRef": image,
        "credentialMapping": credentials,
    }  # fmt: skip
    file.write_text(credentials if isinstance(credentials, str) else json.dumps(document))
    return file


def _pulling(root: Path, image: str, written: str | None = None) -> Path:
    """As the kubelet notes an image that it begins to pull."""
    file = root / "pulling" / f"sha256-{hashlib.sha256(image.encode()).hexdigest()}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps({"kind": "ImagePullIntent", "apiVersion": _GROUP, "image": image})
        if written is None else written
    )  # fmt: skip
    return file


def _asked(root: Path, settings: dict[str, str], *held: str) -> list[str]:
    """What is told of the images, the box's notes being below `root`."""
    noted = pulls.read(root, settings)
    images = [entitled.Image(name, [name], known) for name, known in OURS.items()]
    found = list(entitled.rows(K3s(kubelet=settings), noted, images, held))
    assert all(row.remedy for row in found)
    return [f"{row.name}: {row.detail}" for row in found]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, []),
        ({POLICY: "NeverVerifyPreloadedImages"}, []),
        ({POLICY: "NeverVerify"}, []),
        ({POLICY: "AlwaysVerify"}, [CAMERA, READER]),
        ({POLICY: "AlwaysVerify", "feature-gates": "A=true,KubeletEnsureSecretPulledImages=false"},
         []),
        ({POLICY: "NeverVerifyAllowlistedImages", ALLOWED: "registry.example/site/*"}, [CAMERA]),
        ({POLICY: "NeverVerifyAllowlistedImages",
          ALLOWED: "docker.io/app/camera,registry.example/site"}, [READER]),
    ],
)  # fmt: skip
def test_of_preloaded_images_the_policy_alone_decides(
    tmp_path: Path, settings: dict[str, str], asked: list[str]
) -> None:
    told = _asked(tmp_path, settings)
    assert [line.partition(": ")[0] for line in told] == asked


@pytest.mark.parametrize("policy", ["", "AlwaysVerify"])
@pytest.mark.parametrize(
    ("credentials", "held", "said"),
    [
        ({"docker.io/app/camera": {"nodePodsAccessible": True}}, (), ""),
        ({"docker.io/app/camera": {"kubernetesSecrets": [_SECRET]}}, ("ecr",), ""),
        ({"docker.io/app/camera": {"kubernetesServiceAccounts": [_ACCOUNT]}}, (), ""),
        ({"docker.io/app/camera": {"kubernetesSecrets": [_SECRET]}}, ("other",),
         "pulled it with edge/ecr, which no pod names"),
        ({"docker.io/app/other": {"nodePodsAccessible": True}}, (), "for nobody it knows"),
        ({}, ("ecr",), "for nobody it knows"),
        ("{", ("ecr",), _UNREADABLE),
    ],
)  # fmt: skip
def test_of_images_that_the_kubelet_pulled_its_notes_decide(
    tmp_path: Path, policy: str, credentials: Any, held: tuple[str, ...], said: str
) -> None:
    top = tmp_path / "var/lib/kubelet/image_manager"
    _pulled(top, OURS[CAMERA], credentials)
    _pulled(top, "sha256:" + "0" * 64, {})  # of a version before, that nothing starts from
    told = [line for line in _asked(tmp_path, {POLICY: policy}, *held) if CAMERA in line]
    assert bool(told) == bool(said)
    assert all(said in line for line in told)


@pytest.mark.parametrize(
    "settings",
    [
        {POLICY: "NeverVerifyAllowlistedImages", ALLOWED: "docker.io/app/*,registry.example/*"},
        {POLICY: "NeverVerify"},
    ],
)
def test_what_is_free_is_so_whoever_pulled_it(tmp_path: Path, settings: dict[str, str]) -> None:
    """But for a note that the kubelet can't read: then it pulls without looking at its policy."""
    top = tmp_path / "var/lib/kubelet/image_manager"
    _pulling(top, READER)
    for credentials in ({}, {"docker.io/app/camera": {"kubernetesSecrets": [_SECRET]}}):
        _pulled(top, OURS[CAMERA], credentials)
        assert _asked(tmp_path, settings) == []
    _pulled(top, OURS[CAMERA], "{")
    (told,) = _asked(tmp_path, settings)
    assert told.startswith(f"{CAMERA}: {_UNREADABLE}")


@pytest.mark.parametrize("settings", [{}, {POLICY: "NeverVerify"}])
@pytest.mark.parametrize("written", _DAMAGED)
def test_a_note_of_a_pull_that_was_cut_short_is_told_by_its_name(
    tmp_path: Path, written: str, settings: dict[str, str]
) -> None:
    """The file's name is the hash of what a pod has for the image: the kubelet looks for it where
    it has no note of the image's id, and pulls where it can't read it, whatever its policy."""
    top = tmp_path / "var/lib/kubelet/image_manager"
    camera = ("app/camera:v1", CAMERA)
    for spelled in (*camera, f"{READER}@sha256:{'e' * 64}", "app/former:v0"):
        file = _pulling(top, spelled, written)
        told = _asked(tmp_path, settings)
        assert [line.partition(": ")[0] for line in told] == [CAMERA] * (spelled in camera)
        assert all(f"{_UNREADABLE} ({file})" in line for line in told)
        file.unlink()
    _pulling(top, CAMERA, written)
    _pulled(top, OURS[CAMERA], {"docker.io/app/camera": {"nodePodsAccessible": True}})
    assert _asked(tmp_path, settings) == []  # it looks no further


@pytest.mark.parametrize("written", _DAMAGED)
def test_a_damaged_note_of_an_image_that_was_pulled(tmp_path: Path, written: str) -> None:
    top = tmp_path / "var/lib/kubelet/image_manager"
    file = _pulled(top, OURS[CAMERA], written)
    (told,) = _asked(tmp_path, {POLICY: "NeverVerify"})
    assert told.startswith(f"{CAMERA}: {_UNREADABLE} ({file})")


def test_a_note_of_another_image_counts_for_nothing(tmp_path: Path) -> None:
    """As with the kubelet, which compares what it says with what it looks for."""
    top = tmp_path / "var/lib/kubelet/image_manager"
    file = _pulled(top, OURS[CAMERA], {})
    file.write_text(file.read_text().replace(OURS[CAMERA], OURS[READER]))
    assert _asked(tmp_path, {}) == []


def test_a_pull_that_a_power_cut_ended(tmp_path: Path) -> None:
    """The image came by a bundle later: the kubelet takes it for its own all the same."""
    settings = {"root-dir": "/srv/kubelet"}
    file = _pulling(tmp_path / "srv/kubelet/image_manager", "app/camera:v1")
    (told,) = _asked(tmp_path, settings)
    assert told.startswith(f"{CAMERA}: the kubelet began to pull it")
    assert str(file) in told
    file.rename(file.with_name(file.name + ".tmp"))
    file.with_name(file.name + ".tmp").write_text("{")
    assert _asked(tmp_path, settings) == []


@pytest.mark.parametrize(("written", "gates"), [
    ("featureGates: {A: true, KubeletEnsureSecretPulledImages: false}", ""),
    ("featureGates: {KubeletEnsureSecretPulledImages: true}",
     "KubeletEnsureSecretPulledImages=false"),
])  # fmt: skip
def test_gates_are_read_from_files_and_flags(tmp_path: Path, written: str, gates: str) -> None:
    file = tmp_path / kubelet.DROP_INS / "a.conf"
    file.parent.mkdir(parents=True)
    file.write_text(f"{POLICY}: AlwaysVerify\n{written}\n")
    found = kubelet.read(tmp_path, {"feature-gates": gates} if gates else {})
    assert _asked(tmp_path, found) == []


@pytest.fixture
def box(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ReadyBox:
    return ready_box(tmp_path, ship(tmp_path_factory.mktemp("factory")))


@pytest.mark.needs("registry")
def test_ready_tells_of_an_image_by_its_id(box: ReadyBox) -> None:
    """That of the bundle, as containerd would know it; and names who has the secret."""
    lock = read_lock(box.directory / "images.lock")
    known = ids(lock, Platform.here(), None, box.images)
    name = next(n for n in known if "camera" in n)
    repository = name.rpartition(":")[0]
    top = box.root / "var/lib/kubelet/image_manager"
    file = _pulled(top, known[name], {repository: {"kubernetesSecrets": [_SECRET]}})
    (row,) = box.amiss()
    assert (row["check"], row["name"]) == ("images.credentials", name)
    assert str(file) in row["remedy"]
    pod = box.manifests / "pod.yaml"
    pod.write_text(pod.read_text().replace("spec:", "spec:\n  imagePullSecrets: [{name: ecr}]"))
    assert box.amiss() == []


@pytest.mark.needs("registry", "containerd")
def test_containerd_says_what_the_id_is(box: ReadyBox) -> None:
    """Where no bundle is left."""
    lock = read_lock(box.directory / "images.lock")
    bundled = ids(lock, Platform.here(), None, box.images)
    with (
        tempfile.TemporaryDirectory(prefix="ht-", dir="/tmp") as short,
        containerd(Path(short)) as server,
    ):
        running = ("--socket", server.socket)
        install(
            box.directory / "bundles", box.images, containerd=(client := Containerd(server.socket))
        )
        shutil.rmtree(box.images)
        assert ids(lock, Platform.here(), client, box.images) == bundled
        client.close()
        _pulled(box.root / "var/lib/kubelet/image_manager", min(bundled.values()), {})
        assert {row["check"] for row in box.amiss(*running)} == {"images.credentials"}
