"""Write or check the lock files: versions and hashes for every platform, no registry address."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import index

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
# The system's certificates, as pip takes them: behind a proxy that inspects TLS uv knows nobody.
UV = [sys.executable, "-m", "uv", "--system-certs"]
COMPILE = [
    *UV, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
    "--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate",
]  # fmt: skip
GROUPS = ("installer", "setup", "demo", "dev", "training", "bench")
PROJECT = "pyproject.toml"
SAME = ["--constraint", "requirements/dev.txt"]
LEVELS = {
    "dev.txt": [PROJECT, "--all-extras", *(f"--group={g}" for g in GROUPS)],
    "demo.txt": [PROJECT, "--extra=endpoint", "--group=setup", "--group=demo", *SAME],
    "installer.txt": ["--group=installer", *SAME],
    "build.txt": ["--group=setup", *SAME],  # the image's: what makes the wheel
    "image.txt": [PROJECT, "--all-extras", *SAME],  # and what the wheel needs
}
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
PYTHONS = ("3.11", "3.14")
"""The oldest and the newest that are supported."""


def index_environment() -> dict[str, str]:
    """uv asks the same package index as pip does on this machine."""
    return index.for_uv() or dict(os.environ)


def write() -> None:
    weights = {f"{path.stem}.txt": ["--no-deps", f"requirements/{path.name}"]
               for path in LOCKS.glob("*-weights.in")}  # fmt: skip
    for name, groups in {**LEVELS, **weights}.items():
        command = [*COMPILE, *groups, "-o", f"requirements/{name}"]
        subprocess.run(
            command, cwd=ROOT, env=index_environment(), check=True, stdout=subprocess.DEVNULL
        )


def check() -> None:
    """The locks hold no address and one version of each package; all have wheels everywhere."""
    for path in sorted(LOCKS.glob("*.txt")):
        if "://" in path.read_text():
            sys.exit(f"{path.relative_to(ROOT)} holds an address; run ./run lock")
    whole = _packages("dev.txt")
    for name in LEVELS:
        if others := sorted(_packages(name) - whole):
            sys.exit(f"requirements/{name} has {others[0]}, dev.txt has not; run ./run lock")
    with tempfile.TemporaryDirectory() as empty:
        for python, platform in itertools.product(PYTHONS, PLATFORMS):
            subprocess.run(
                [*UV, "pip", "install", "--quiet", "--dry-run", "--target", empty, "--no-deps",
                 "--python-version", python, "--python-platform", platform,
                 "--only-binary", ":all:", "--require-hashes", "-r", "requirements/dev.txt"],
                cwd=ROOT, env=index_environment(), check=True,
            )  # fmt: skip


def _packages(name: str) -> set[str]:
    """`name==version` of each package in a lock, with its hashes."""
    text = (LOCKS / name).read_text().replace("\\\n", " ")
    return {re.sub(r" ;.*?(?= --hash)", "", " ".join(line.split())) for line in text.splitlines()}


if __name__ == "__main__":
    check() if "--check" in sys.argv else write()
