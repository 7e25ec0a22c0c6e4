"""Every published Dockerfile, built whole: our own image for both its targets, and Balena's three.

No registry of others is asked: Debian is made here, k3s and CUDA have stand-ins with the files that
the Dockerfiles take from them, k3s's own images stand in a registry on loopback. So each line is
executed; what NVIDIA's and Rancher's real files then do is not shown. Needs root, Debian's and
Python's package index, and some minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import oci
from tests.support.commands import run as hardtack
from tests.support.registry import registry

from bench.figures import write_between
from drill import image

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "deploy/balena-k3s/server"
DOCS = ROOT / "docs/deploy-balena.md"
TOOLKIT = (
    "nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container1",
    "libnvidia-container-tools",
)  # fmt: skip
K3S = '#!/bin/sh\necho "k3s stand-in: $(basename "$0") $*"\n'
PROGRAMS = (
    "hardtack version", "k3s server", "kubectl get nodes", "ip -V", "iptables --version",
    "mount --version", "nsenter --version", "modprobe --version",
)  # fmt: skip
"""What the server's image must be able to start."""


@dataclass(frozen=True)
class Built:
    """`lines` executed (RUN and COPY), `holds`: what was seen in it."""

    name: str
    lines: int
    seconds: float
    holds: str

    def row(self) -> tuple[str, ...]:
        return self.name, str(self.lines), f"{self.seconds:.0f} s", self.holds


class Buildah:
    """buildah with a store of its own."""

    def __init__(self, scratch: Path) -> None:
        self._command = ["buildah", "--root", f"{scratch}/store", "--runroot", f"{scratch}/run"]

    def __call__(self, *command: str, fails: bool = False) -> str:
        done = subprocess.run(
            [*self._command, *command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if bool(done.returncode) != fails:
            raise SystemExit(f"buildah {' '.join(command)}:\n{done.stdout}{done.stderr}")
        return done.stdout.strip() if not fails else done.stderr

    def build(self, tag: str, context: Path, *options: str) -> tuple[int, float]:
        """Build with each line executed; the count of lines, and the seconds."""
        began = time.monotonic()
        said = self("build", "--layers", "--isolation", "chroot", "--pull-never", *options,
                    "--tag", tag, str(context))  # fmt: skip
        steps = [line for line in said.splitlines() if line.startswith(("STEP ", "["))]
        lines = sum(any(f" {word} " in step for word in ("RUN", "COPY")) for step in steps)
        return lines, time.monotonic() - began

    @contextmanager
    def container(self, tag: str) -> Iterator[str]:
        name = self("from", "--pull-never", tag)
        try:
            yield name
        finally:
            self("rm", name)

    def run(self, container: str, *command: str) -> str:
        return self("run", "--isolation", "chroot", container, "--", *command)


def own(buildah: Buildah) -> list[Built]:
    """Our image: the default target, and `root`."""
    trusted: list[str] = []
    if certificates := os.environ.get("PIP_CERT"):
        trusted = ["--volume", f"{certificates}:/run/ca.crt:ro", "--build-arg",
                   "PIP_CERT=/run/ca.crt"]  # fmt: skip
    found = []
    for target, user in ((), "65532:65532"), (("--target", "root"), "0:0"):
        tag = "localhost/hardtack" + ("-root" if target else "")
        lines, seconds = buildah.build(
            tag, ROOT, "--build-arg", "BASE=localhost/debian", *trusted, *target
        )
        config = json.loads(buildah("inspect", "--type", "image", tag))["OCIv1"]["config"]
        assert (config["User"], config["Entrypoint"]) == (user, ["hardtack"]), config
        with buildah.container(tag) as made:
            version = " ".join(buildah.run(made, "hardtack", "version").split()[:2])
            packages = json.loads(buildah.run(made, "cat", "/opt/hardtack/share/sbom.spdx.json"))
            who = buildah.run(made, "id", "-u")
        assert who == user.partition(":")[0]
        holds = f"{version}, user {who}, SBOM of {len(packages['packages'])} packages"
        name = "`Dockerfile`" + (", target `root`" if target else "")
        found.append(Built(name, lines, seconds, holds))
    return found


def stand_ins(buildah: Buildah, scratch: Path) -> None:
    """`localhost/k3s` and `localhost/cuda`, with what the Dockerfiles take from the real ones."""
    files = scratch / "k3s/bin"
    (files / "aux").mkdir(parents=True)
    for name in ("k3s", "aux/iptables-detect.sh"):
        (files / name).write_text(K3S)
        (files / name).chmod(0o755)
    container = buildah("from", "scratch")
    buildah("copy", "--quiet", container, str(files), "/bin")
    buildah("commit", "--quiet", container, "localhost/k3s")
    packages = scratch / "packages"
    packages.mkdir()
    index = "".join(_package(packages, scratch, name) for name in TOOLKIT)
    (packages / "Packages").write_text(index)
    (scratch / "nvidia.list").write_text("deb [trusted=yes] file:/packages-of-nvidia ./\n")
    container = buildah("from", "--pull-never", "localhost/debian")
    buildah("copy", "--quiet", container, str(packages), "/packages-of-nvidia")
    buildah("copy", "--quiet", container, f"{scratch}/nvidia.list", "/etc/apt/sources.list.d/")
    buildah("commit", "--quiet", container, "localhost/cuda")


def _package(directory: Path, scratch: Path, name: str) -> str:
    """An empty Debian package in `directory`; its paragraph for the index."""
    control = (
        f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example>\n"
        "Description: stand-in\n"
    )
    tree = scratch / "package" / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(control)
    file = directory / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(file)], check=True, capture_output=True)
    data = file.read_bytes()
    return (
        f"{control}Filename: ./{file.name}\nSize: {len(data)}\n"
        f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
    )


def balena(buildah: Buildah, scratch: Path) -> list[Built]:
    """The three, from a lock over images of our own; before that each says what is to be done."""
    context = scratch / "server"
    shutil.copytree(SERVER, context)
    names = {"HARDTACK": "hardtack", "K3S": "k3s", "CUDA": "cuda"}
    bases = [f"--build-arg={name}=localhost/{image}" for name, image in names.items()]
    files = ("Dockerfile", "Dockerfile.gpu", "Dockerfile.jetson")
    said = buildah("build", "--isolation", "chroot", "--pull-never", *bases, str(context),
                   fails=True)  # fmt: skip
    assert "hardtack images dockerfile" in said, said
    with registry(scratch) as server:
        listed = []
        for repository in ("rancher/mirrored-pause", "rancher/mirrored-coredns-coredns"):
            images = {
                one: oci.image([oci.layer({repository: one.encode()})], platform=one)
                for one in ("linux/amd64", "linux/arm64")
            }
            digest = server.push_index(repository, "1", images)
            listed.append(f"{server.host}/{repository}:1@{digest}\n")
        (context / "k3s-images.txt").write_text("".join(listed))
        commands: tuple[tuple[str | Path, ...], ...] = (
            ("images", "lock", context / "k3s-images.txt", "--platform", "linux/amd64",
             "--platform", "linux/arm64"),
            ("images", "dockerfile", *(context / name for name in files)),
        )  # fmt: skip
        for command in commands:
            done = hardtack(*command, cwd=scratch)
            assert done.returncode == 0, done.stderr
        return [_server(buildah, context, name, bases) for name in files]


def _server(buildah: Buildah, context: Path, name: str, bases: list[str]) -> Built:
    tag = f"localhost/server-{name.lower()}"
    lines, seconds = buildah.build(tag, context, "--file", str(context / name), *bases)
    with buildah.container(tag) as made:
        for program in PROGRAMS:
            assert buildah.run(made, *program.split()), program
        (bundle,) = buildah.run(made, "ls", "/usr/share/hardtack/images").split()
        wanted = "arm64" if "jetson" in name else "amd64"
        assert wanted in bundle, bundle
        plan = buildah.run(
            made, "hardtack", "box", "prepare", "--dry-run", "--only", "images", "--platform",
            f"linux/{wanted}",
        )  # fmt: skip
        assert bundle in plan, plan
        holds = f"{len(PROGRAMS)} programs start, bundle for {wanted}"
        if name != "Dockerfile":
            buildah.run(made, "dpkg-query", "-W", *TOOLKIT)
            flavour = buildah.run(made, "printenv", "INFERENCE_FLAVOR")
            assert flavour == name.partition(".")[2]
            holds += f", {len(TOOLKIT)} packages of the toolkit"
    return Built(f"`deploy/balena-k3s/server/{name}`", lines, seconds, holds)


HEADINGS = ("file", "RUN and COPY lines executed", "time", "seen in it")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench dockerfiles", description=__doc__)
    parser.add_argument("--write-docs", action="store_true", help=f"the table of {DOCS.name}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hardtack-dockerfiles-") as directory:
        scratch = Path(directory)
        buildah = Buildah(scratch)
        try:
            container = buildah("from", "scratch")
            buildah("add", "--quiet", container, str(image.debian()), "/")
            buildah("commit", "--quiet", container, "localhost/debian")
            stand_ins(buildah, scratch)
            found = own(buildah) + balena(buildah, scratch)
        finally:
            image.unmount(directory)
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(built.row() for built in found)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    text = f"On {platform.machine()}, {time.strftime('%Y-%m-%d', time.gmtime())}:\n\n{text}"
    print(text)
    if given.write_docs:
        write_between(DOCS, "dockerfiles", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
