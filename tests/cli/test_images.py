"""`hardtack images`, as a person runs it: from a manifest to a box, on a registry of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardtack.images.platforms import Platform
from tests.support import oci
from tests.support.commands import loaded, run
from tests.support.containerd import containerd
from tests.support.registry import RegistryServer, registry

HERE = str(Platform.here())
pytestmark = pytest.mark.needs("registry")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        for tag in ("v1", "v2"):
            content = {"model.txt": tag.encode() * 5000}
            running.push("demo/app", tag, oci.image([oci.layer(content)], HERE))
        yield running


class Yard:
    """A directory with a deployment and what the commands make of it."""

    def __init__(self, home: Path, server: RegistryServer) -> None:
        self.home, self.server = home, server
        self.bundles, self.k3s = home / "bundles", home / "k3s/agent/images"
        self.deploy("v1")

    def deploy(self, tag: str) -> None:
        (self.home / "pod.yaml").write_text(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n"
            f"  - {{name: a, image: '{self.server.host}/demo/app:{tag}'}}\n"
        )

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run("images", *arguments, cwd=self.home)

    def ok(self, *arguments: str | Path) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, f"{arguments}: {done.stderr}"
        return json.loads(done.stdout)


@pytest.fixture
def yard(tmp_path: Path, server: RegistryServer) -> Yard:
    return Yard(tmp_path, server)


def test_from_a_manifest_to_a_box(yard: Yard) -> None:
    name = f"{yard.server.host}/demo/app:v1"
    (row,) = yard.json("scan", "pod.yaml")["images"]
    assert (row["image"], row["file"], row["line"]) == (name, "pod.yaml", 6)

    (locked,) = yard.json("lock", "pod.yaml")
    assert (locked["image"], locked["platform"]) == (name, HERE)
    assert yard.json("lock", "pod.yaml", "--check") == []

    pulled = yard.json("pull", "--out", yard.bundles)
    (bundle,) = pulled["written"]
    assert pulled["fetched_bytes"] == locked["size"]
    again = yard.json("pull", "--out", yard.bundles)
    assert (again["written"], again["fetched_bytes"]) == ([], 0)
    assert "there already" in yard.ok("pull", "--out", yard.bundles)

    to = ("--to", yard.k3s)
    absent = yard.run("audit", *to, "--socket", yard.home / "none.sock")
    assert absent.returncode == 62
    assert "No containerd at" in absent.stderr
    installed = yard.json("install", yard.bundles, *to, "--k3s-version", "v1.32.1+k3s1")
    assert installed["added"] == [str(yard.k3s / Path(bundle).name)]
    assert installed["restart"] is False
    assert yard.json("prune", *to) == []

    yard.deploy("v2")
    assert {d["difference"] for d in yard.json("lock", "pod.yaml", "--check", code=1)} == {
        "not locked", "not used",
    }  # fmt: skip
    yard.ok("lock", "pod.yaml")
    assert yard.json("prune", *to) == installed["added"]
    assert "Nothing to remove" in yard.ok("prune", *to)
    nowhere = yard.run("prune", "--to", yard.home / "agent/image")
    assert nowhere.returncode == 11
    assert f"There is no directory {yard.home / 'agent/image'}." in nowhere.stderr
    assert not (yard.home / "agent").exists()


def test_bundles_are_installed_beside_a_k3s_that_cant_be_run(yard: Yard) -> None:
    yard.ok("lock", "pod.yaml")
    yard.ok("pull", "--out", yard.bundles)
    (yard.home / "bin").mkdir()
    (yard.home / "bin/k3s").touch(0o755)
    path = f"{yard.home / 'bin'}:{os.environ['PATH']}"
    done = run("images", "install", yard.bundles, "--to", yard.k3s, env={"PATH": path})
    assert done.returncode == 0, done.stderr
    assert f"hardtack: {yard.home}/bin/k3s can't be run: Exec format error." in done.stderr
    assert "restart k3s: which k3s runs here isn't known" in done.stdout


def test_files_out_of_an_image(yard: Yard) -> None:
    image = f"{yard.server.host}/demo/app:v2"
    (file,) = yard.json("extract", image, "/model.txt", "--to", yard.home / "files")
    assert Path(file).read_bytes() == b"v2" * 5000
    done = yard.run("extract", image, "/nothing", "--to", yard.home / "files")
    assert done.returncode == 23
    assert "has no file /nothing" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("scan",), 2, "Missing argument 'PATHS...'"),
        (("scan", "nowhere.yaml"), 2, "'nowhere.yaml' does not exist"),
        (("lock",), 51, "Nothing to lock: no image was found."),
        (("lock", "pod.yaml", "--platform", "arm64"), 11, "'arm64' is not a platform."),
        (("lock", "pod.yaml", "--update", "alpine:3"), 51, "no manifest names this image"),
        (("lock", "pod.yaml", "--registries", "pod.yaml", "--helm", "best"), 2, "'best'"),
        (("pull",), 2, "Missing option '--out'"),
        (("pull", "--out", "b"), 51, "images.lock"),
        (("pull", "--out", "b", "--compress", "gzip"), 2, "'gzip'"),
        (("install", "nowhere"), 2, "'nowhere' does not exist"),
        (("install", "."), 61, "bundle"),
        (("audit",), 51, "images.lock"),
        (("prune",), 51, "images.lock"),
        (("lock", "pod.yaml", "--k3s-images", "pod.yaml"), 52, "pod.yaml:1: 'apiVersion: v1'"),
        (("extract", "alpine"), 2, "Missing argument 'PATHS...'"),
        (("extract", "Not An Image", "/a"), 52, "Not An Image"),
        (
            ("extract", "a", "/a", "--insecure-registry", "https://a"),
            2,
            "--insecure-registry is a host, HOST[:PORT], not 'https://a'",
        ),
    ],
)
def test_wrong_use_is_told(yard: Yard, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = yard.run(*arguments)
    assert said in done.stderr
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_link_to_nothing_is_told_as_one(yard: Yard) -> None:
    (yard.home / "pods.yaml").symlink_to("gone/pods.yaml")
    for command in ("scan", "install", "dockerfile"):
        done = yard.run(command, "pods.yaml")
        assert done.returncode == 2
        assert "'pods.yaml' is a link to 'gone/pods.yaml', which isn't there." in done.stderr


def test_an_unknown_tag_and_no_registry(yard: Yard) -> None:
    yard.deploy("v3")
    done = yard.run("lock", "pod.yaml")
    assert (done.returncode, done.stdout) == (23, "")
    assert f"{yard.server.host} has no " in done.stderr
    assert not (yard.home / "images.lock").exists()


FOR_OTHERS = ("grpc", "zstandard", "yaml", "ssl", "tarfile", "shutil", "base64")
FOR_FEW_PULLS = (
    "email", "encodings.idna", "hardtack.core.proxy", "hardtack.core.tunnel", "hardtack.core.typos",
    "hardtack.images.auth", "hardtack.images.bundle",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["scan", "--help"], ("grpc", "zstandard")),
        (["pull", "--out", "b"], (*FOR_OTHERS, *FOR_FEW_PULLS)),
    ],
    ids=["scan", "pull"],
)
def test_what_a_command_does_without_is_not_loaded(
    yard: Yard, arguments: list[str], unneeded: tuple[str, ...]
) -> None:
    yard.ok("lock", "pod.yaml")
    assert loaded(*unneeded, by=["images", *arguments], cwd=yard.home) == []


@pytest.mark.needs("containerd", "root")
def test_audit_of_a_running_containerd(yard: Yard) -> None:
    yard.ok("lock", "pod.yaml")
    yard.ok("pull", "--out", yard.bundles)
    with tempfile.TemporaryDirectory(prefix="ht-", dir="/tmp") as short:
        with containerd(Path(short)) as store:
            at = ("--socket", store.socket)
            assert {r["state"] for r in yard.json("audit", *at, code=1)} == {"missing"}
            told = yard.ok("install", yard.bundles, "--to", yard.k3s, "--import", *at)
            assert "no restart needed" in told
            assert {r["state"] for r in yard.json("audit", *at)} == {"ok"}
            locked = tomllib.loads((yard.home / "images.lock").read_text())
            (digest,) = re.findall(r"sha256:[0-9a-f]{64}", str(locked))[:1]
            blob = store.blob(digest)
            blob.chmod(0o644)
            data = bytearray(blob.read_bytes())
            data[len(data) // 2] ^= 1
            blob.write_bytes(data)
            assert "incomplete" in {r["state"] for r in yard.json("audit", "--deep", *at, code=1)}


@pytest.mark.parametrize(
    ("name", "text"),
    [("pod.yaml", "kind: Pod\nspec: [}\n"), ("Chart.yaml", "apiVersion: v2\nname: [x}\n")],
)
def test_a_file_that_can_not_be_read_may_name_more(yard: Yard, name: str, text: str) -> None:
    file = yard.home / name
    file.write_text(text)
    for arguments in (("scan", "."), ("lock", "."), ("scan", ".", "--json")):
        (yard.home / "good.yaml").write_text(
            f"kind: Pod\nspec:\n  containers: [{{image: '{yard.server.host}/demo/app:v1'}}]\n"
        )
        done = yard.run(*arguments)
        assert done.returncode == 1, arguments
        assert f"{name}:2: error: malformed YAML" in done.stderr
        assert "demo/app:v1" in done.stdout


UNKNOWN = "kind: Pod\nspec:\n  containers: [{image: 'Foo Bar:::'}]\n"
UNREADABLE = "kind: Pod\nspec: [}\n"


@pytest.mark.parametrize(
    ("text", "said", "difference"),
    [
        (UNKNOWN, "more.yaml:3: not locked, the image can't be told: 'Foo Bar", "can't be told"),
        (UNREADABLE, "more.yaml:2: error: malformed YAML", "not read"),
    ],
)
def test_a_lock_that_may_lack_images_is_no_success(
    yard: Yard, text: str, said: str, difference: str
) -> None:
    yard.ok("lock", "pod.yaml")
    (yard.home / "more.yaml").write_text(text)
    checked = yard.run("lock", ".", "--check")
    assert (checked.returncode, checked.stdout) == (1, "")
    assert said in checked.stderr
    (row,) = yard.json("lock", ".", "--check", code=1)
    assert (row["image"], row["difference"]) == (None, difference)
    (yard.home / "images.lock").unlink()
    written = yard.run("lock", ".")
    assert written.returncode == 1
    assert "images.lock may lack images" in written.stderr
    assert yard.ok("lock", "pod.yaml", "--check") == "In step: 1 image.\n"


def test_images_that_only_the_cluster_knows_can_be_allowed(yard: Yard) -> None:
    (yard.home / "more.yaml").write_text(UNKNOWN.replace("Foo Bar:::", "${REGISTRY}/app:v1"))
    assert yard.run("lock", ".").returncode == 1
    for more in ((), ("--check",)):
        done = yard.run("lock", ".", "--allow-unknown", *more)
        assert done.returncode == 0
        assert "more.yaml:3: not locked" in done.stderr
    yard.ok("scan", ".")


def test_base_images_are_no_matter_of_the_lock(yard: Yard) -> None:
    (yard.home / "Dockerfile").write_text("ARG BASE\nFROM $BASE\n")
    assert "not locked" not in yard.run("lock", ".").stderr
    yard.ok("lock", ".", "--check")


def test_what_a_scan_says_of_a_bad_name_and_of_nothing(yard: Yard) -> None:
    (yard.home / "pod.yaml").write_text(UNKNOWN)
    scanned = yard.run("scan", ".")
    assert scanned.returncode == 1
    assert "? Foo Bar:::" in scanned.stdout
    (yard.home / "pod.yaml").write_text("kind: Service\n")
    assert yard.ok("scan", ".") == "No image found in 1 file.\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (UNREADABLE, "Nothing to lock: 1 file can't be read, and no image was found. Mend"),
        (UNKNOWN, "Nothing to lock: no image that can be told was found. Write out"),
        ("kind: Service\n", "Nothing to lock: no image was found. Give PATHs that name images."),
    ],
)
def test_why_there_is_nothing_to_lock(yard: Yard, text: str, said: str) -> None:
    (yard.home / "pod.yaml").write_text(text)
    done = yard.run("lock", "pod.yaml")
    assert done.returncode == 51
    assert said in " ".join(done.stderr.split())
    absent = yard.run("lock", "pod.yaml", "--check")
    assert "images.lock doesn't exist.\n  Write it: hardtack images lock PATH…" in absent.stderr
