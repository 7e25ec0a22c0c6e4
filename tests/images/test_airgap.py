"""Which images k3s itself needs: from its image, from its list, or said not to be known."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from hardtack.core.errors import BadReference, BundleError, ConfigError, NotFound
from hardtack.images.airgap import image_of, in_tarball, needed_by, parse_list
from hardtack.images.lockfile import read_lock
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry
from tests.support import oci
from tests.support.commands import run
from tests.support.faulty_registry import FaultyRegistry, faulty_registry

AMD64 = Platform.parse("linux/amd64")
NAMES = ["docker.io/rancher/pause:3.6", "docker.io/rancher/coredns:1.10.1"]
# `k3s-images.txt` of a release is k3s's own scripts/airgap/image-list.txt; this one is of 1.34.
RELEASED = """\
docker.io/rancher/klipper-helm:v0.9.12-build20251215
docker.io/rancher/klipper-lb:v0.4.13
docker.io/rancher/local-path-provisioner:v0.0.32
docker.io/rancher/mirrored-coredns-coredns:1.13.1
docker.io/rancher/mirrored-library-busybox:1.37.0
docker.io/rancher/mirrored-library-traefik:3.5.1
docker.io/rancher/mirrored-metrics-server:v0.8.0
docker.io/rancher/mirrored-pause:3.6
"""
# What k3s's package/Dockerfile puts into the image: its binaries, certificates, time zones.
IN_ITS_IMAGE = ["bin/k3s", "bin/aux/xtables-legacy-multi", "bin/cni", "bin/kubectl",
                "etc/ssl/certs/ca-certificates.crt", "etc/nsswitch.conf", "etc/os-release",
                "etc/passwd", "usr/share/zoneinfo/UTC"]  # fmt: skip


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as running:
        yield running


def tar_of(**files: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


DOCKER = tar_of(manifest_json=[{"Config": "c", "RepoTags": [n], "Layers": []} for n in NAMES])
OCI = tar_of(
    index_json={
        "manifests": [
            {"annotations": {"io.containerd.image.name": n}}
            for n in [*NAMES, f"{NAMES[0].partition(':')[0]}@sha256:{'a' * 64}"]
        ]
    }
)


def k3s(server: FaultyRegistry, tag: str, files: dict[str, bytes]) -> None:
    server.add(tag, oci.image([oci.layer({"bin/k3s": b"x"}), oci.layer(files)]))


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("v1.28.8+k3s1", "v1.28.8-k3s1"),
        ("1.31.5+k3s2", "v1.31.5-k3s2"),
        ("v1.32.0-k3s1", "v1.32.0-k3s1"),
        ("v1.30.0-rc1+k3s1", "v1.30.0-rc1-k3s1"),
    ],
)
def test_versions_and_tags(version: str, tag: str) -> None:
    assert image_of(version).name == f"docker.io/rancher/k3s:{tag}"


@pytest.mark.parametrize("version", ["latest", "v1.28", "v1.28.8", "", "v1.28.8+rke2r1"])
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(ConfigError, match="not a version of k3s"):
        image_of(version)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("bin/aux/k3s-airgap-images.tar.zst", zstandard.compress(DOCKER)),
        ("opt/k3s/k3s-airgap-images.tar", DOCKER),
        ("opt/k3s/k3s-airgap-images-amd64.tar.gz", gzip.compress(DOCKER)),
        ("var/lib/rancher/k3s/agent/images/k3s-airgap-images.tar", OCI),
        ("k3s-images.txt", "# of k3s\n{}\n\n{}\n".format(*NAMES).encode()),
    ],
)
def test_read_from_its_image(server: FaultyRegistry, path: str, data: bytes) -> None:
    k3s(server, "v1.28.8-k3s1", {path: data})
    image = image_of("v1.28.8+k3s1", f"{server.host}/rancher/k3s")
    assert [r.name for r in needed_by(image, AMD64, Registry())] == NAMES


def test_an_image_that_says_nothing(server: FaultyRegistry) -> None:
    """As upstream builds it: the list and the tarball are the release's, not the image's."""
    k3s(server, "v1.28.8-k3s1", dict.fromkeys(IN_ITS_IMAGE, b"x"))
    image = image_of("v1.28.8+k3s1", f"{server.host}/rancher/k3s")
    with pytest.raises(NotFound, match="nor an airgap tarball") as said:
        needed_by(image, AMD64, Registry())
    assert "release v1.28.8+k3s1 of k3s" in said.value.remedy
    assert "--k3s-images" in said.value.remedy


@pytest.mark.parametrize(
    "data", [b"junk", zstandard.compress(DOCKER)[:-20], tar_of(manifest_json=[{"x": 1}]), tar_of()]
)
def test_a_damaged_tarball(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "k3s-airgap-images.tar.zst"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="k3s-airgap-images"):
        in_tarball(path)


def test_the_list_of_a_release() -> None:
    found = parse_list(RELEASED)
    assert [r.name for r in found] == RELEASED.split()
    assert {r.full_repository.rpartition("/")[0] for r in found} == {"docker.io/rancher"}


def test_the_list_that_the_balena_server_is_built_from() -> None:
    shipped = Path(__file__).parents[2] / "deploy/balena-k3s/server/k3s-images.txt"
    found = {r.repository: r for r in parse_list(shipped.read_text())}
    assert {"rancher/mirrored-pause", "rancher/mirrored-coredns-coredns"} <= found.keys()
    assert all(reference.digest for reference in found.values())


def test_lists() -> None:
    text = "docker.io/rancher/pause:3.6 # comment\n\n# none\ndocker.io/rancher/pause:3.6\n"
    assert [r.name for r in parse_list(text)] == NAMES[:1]


def test_what_is_no_list_is_told_by_its_line() -> None:
    with pytest.raises(BadReference, match=r"^pod\.yaml:2: 'kind: Pod' is not an image reference"):
        parse_list("a/b:1\nkind: Pod\n", "pod.yaml")


def test_locked_and_checked(server: FaultyRegistry, tmp_path: Path) -> None:
    names = [f"{server.host}/rancher/pause:3.6", f"{server.host}/app/x:v1"]
    for tag in ("3.6", "v1"):
        server.add(tag, oci.image([oci.layer({"f": tag.encode()})]))
    k3s(server, "v1.28.8-k3s1", {"k3s-images.txt": names[0].encode()})
    tarball = tar_of(manifest_json=[{"Config": "c", "RepoTags": [names[1]], "Layers": []}])
    (tmp_path / "k3s-airgap-images-amd64.tar.zst").write_bytes(zstandard.compress(tarball))
    pod = f"kind: Pod\nspec:\n  containers: [{{image: {names[1]}}}]\n"
    (tmp_path / "pod.yaml").write_text(pod)
    common = ["images", "lock", "pod.yaml", "--k3s-image", f"{server.host}/rancher/k3s"]
    k3s_too = [*common, "--k3s", "v1.28.8+k3s1"]
    missing = run(*k3s_too, "--check", cwd=tmp_path)
    assert missing.returncode == 51
    done = run(*k3s_too, "--platform", "linux/amd64", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    locked = {i.reference.name: i.found for i in read_lock(tmp_path / "images.lock").images}
    assert locked[names[0]] == ("k3s v1.28.8-k3s1",)
    assert len(locked) == 2
    listed = ["--k3s-images", "k3s-airgap-images-amd64.tar.zst"]
    done = run("images", "lock", *listed, "--platform", "linux/amd64", "--lock", "of.lock",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [i.reference.name for i in read_lock(tmp_path / "of.lock").images] == names[1:]
    server.close()  # offline from here
    assert run(*k3s_too, "--check", cwd=tmp_path).returncode == 0
    other = run(*common, "--k3s", "v1.31.5+k3s1", "--check", cwd=tmp_path)
    assert other.returncode == 51
    assert "no image of k3s v1.31.5-k3s1" in other.stderr


def test_told_what_to_give(server: FaultyRegistry, tmp_path: Path) -> None:
    k3s(server, "v1.28.8-k3s1", {"bin/aux/ip": b"x"})
    repository = f"{server.host}/rancher/k3s"
    done = run("images", "lock", "--k3s", "v1.28.8+k3s1", "--k3s-image", repository,
               "--platform", "linux/amd64", cwd=tmp_path)  # fmt: skip
    assert done.returncode == NotFound.exit_code
    assert "--k3s-images k3s-images.txt" in done.stderr
    assert not (tmp_path / "images.lock").exists()
