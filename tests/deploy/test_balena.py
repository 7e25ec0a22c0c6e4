"""The files for Balena: clean, pinned, and their preloader stage filled from a lock and run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hardtack.manifests.dockerfile import instructions
from hardtack.manifests.reference import Reference
from tests.support import oci
from tests.support.commands import clean_environment, run
from tests.support.registry import registry

HERE = Path(__file__).parents[2] / "deploy/balena-k3s"
SERVER = HERE / "server"
DOCKERFILES = {
    "Dockerfile": "linux/amd64",
    "Dockerfile.gpu": "linux/amd64",
    "Dockerfile.jetson": "linux/arm64",
}


@pytest.mark.needs("shellcheck")
def test_the_script_is_clean() -> None:
    done = subprocess.run(
        ["shellcheck", "--enable=all", SERVER / "server.sh"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("code", [0, 95])
def test_k3s_starts_only_on_a_prepared_box(tmp_path: Path, code: int) -> None:
    for name, line in {"hardtack": f"exit {code}", "k3s": "exit 0"}.items():
        stub = tmp_path / name
        stub.write_text(f'#!/bin/sh\necho "{name} $*"\n{line}\n')
        stub.chmod(0o755)
    done = subprocess.run(
        [SERVER / "server.sh"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    ran = ["hardtack box prepare --yes", "k3s server"]
    assert done.stdout.splitlines() == (ran if code == 0 else ran[:1])


@pytest.mark.parametrize("files", [HERE, HERE.parents[1] / "Dockerfile"])
def test_policy_has_nothing_to_say(files: Path) -> None:
    done = run("policy", "check", files, "--format", "json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["findings"] == []
    assert json.loads(done.stdout)["suppressed"] == []


def test_everything_is_pinned_and_nothing_else_is_preloaded() -> None:
    scanned = json.loads(run("images", "scan", HERE, "--json").stdout)
    assert scanned["problems"] == []
    names = [Reference.parse(image["image"]) for image in scanned["images"]]
    assert all(name.digest for name in names)
    listed = (SERVER / "k3s-images.txt").read_text().split()
    assert {Reference.parse(line).repository for line in listed} == {
        "rancher/mirrored-pause", "rancher/mirrored-coredns-coredns",
    }  # fmt: skip
    disabled = yaml.safe_load((SERVER / "k3s.yaml").read_text())["disable"]
    assert set(disabled) == {"traefik", "servicelb", "metrics-server", "local-storage"}


def test_what_prepare_needs_is_in_the_image_and_survives_a_release() -> None:
    compose = yaml.safe_load((HERE / "docker-compose.yml").read_text())
    kept = {volume.partition(":")[2] for volume in compose["services"]["server"]["volumes"]}
    # Without the node's password, in /etc/rancher/node, k3s refuses its own node after a release.
    assert {"/var/lib/rancher", "/etc/rancher/node", "/var/lib/hardtack", "/shared"} <= kept
    assert {v.partition(":")[0] for v in compose["services"]["server"]["volumes"]} == set(
        compose["volumes"]
    )
    for name in DOCKERFILES:
        text = (SERVER / name).read_text()
        for program in ("iproute2", "iptables"):
            assert program in text
        assert "COPY --from=preload /preload/images /usr/share/hardtack/images" in text
        assert "COPY --from=preload /preload/images.lock " in text
        assert "HARDTACK_LOCK=/usr/share/hardtack/images.lock" in text
        assert "COPY manifests /usr/share/hardtack/manifests" in text


@pytest.mark.needs("registry")
def test_the_preloader_stage_is_that_of_the_lock(tmp_path: Path) -> None:
    """k3s's images stand in a registry of ours; the stage is written, checked, and does pull."""
    context = tmp_path / "server"
    shutil.copytree(SERVER, context)
    files = [context / name for name in DOCKERFILES]
    with registry(tmp_path) as server:
        names = []
        for repository in ("rancher/mirrored-pause", "rancher/mirrored-coredns-coredns"):
            images = {
                platform: oci.image([oci.layer({repository: platform.encode()})], platform=platform)
                for platform in ("linux/amd64", "linux/arm64")
            }
            digest = server.push_index(repository, "1", images)
            names.append(f"{server.host}/{repository}:1@{digest}")
        (context / "k3s-images.txt").write_text("\n".join(names) + "\n")
        platforms = ("--platform", "linux/amd64", "--platform", "linux/arm64")
        commands: tuple[tuple[str | Path, ...], ...] = (
            ("images", "lock", context / "k3s-images.txt", *platforms),
            ("images", "dockerfile", *files),
            ("images", "dockerfile", "--check", *files),
        )
        for arguments in commands:
            done = run(*arguments, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
        for file in files:
            platform = DOCKERFILES[file.name]
            stage = file.read_text().partition("preload begin")[2].partition("# hardtack")[0]
            (command,) = [rest for _, name, rest in instructions(stage) if name == "RUN"]
            out = tmp_path / file.name / "preload"
            done = subprocess.run(
                ["/bin/sh", "-c", command.replace("/preload", str(out))], check=False,
                env=clean_environment({"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}),
                capture_output=True, text=True, timeout=90,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert (out / "images.lock").is_file()
            (bundle,) = (out / "images").glob("*.tar")
            assert platform.partition("/")[2] in bundle.name
