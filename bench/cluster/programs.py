"""Kubernetes and etcd, built from source with Go: one program, a name for each part."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from drill import image

PARTS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet",
)  # fmt: skip
_SOURCE = Path(__file__).with_name("go")
_VERSION = "k8s.io/component-base/version"


def version() -> str:
    """Of Kubernetes, as go.mod names it: `v1.35.4`."""
    found = re.search(r"^\s*k8s\.io/kubernetes (\S+)$", (_SOURCE / "go.mod").read_text(), re.M)
    assert found is not None
    return found[1]


def directory() -> Path:
    """Where the parts are; built where they weren't from this source. Raises SystemExit where
    there is no Go."""
    files = sorted(f for f in _SOURCE.iterdir() if f.is_file())
    stamp = hashlib.sha256(b"\0".join(f.read_bytes() for f in files)).hexdigest()[:16]
    made = image.KEPT / f"kubernetes-{stamp}"
    if not made.exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            raise SystemExit("There is no Go, which builds Kubernetes: https://go.dev/dl.")
        part = made.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _build(go, part / "kubernetes")
        for name in PARTS:
            (part / name).symlink_to("kubernetes")
        for old in image.KEPT.glob("kubernetes-*[0-9a-f]"):
            shutil.rmtree(old)
        part.rename(made)
    return made


def _build(go: str, program: Path) -> None:
    major, minor = version().removeprefix("v").split(".")[:2]
    told = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s -w", *(f"-X {_VERSION}.{name}={text}" for name, text in told.items())])
    subprocess.run(
        ["nice", "-n", "19", go, "build", "-p", "2", "-trimpath", "-buildvcs=false",
         "-ldflags", flags, "-o", str(program), "."],
        cwd=_SOURCE, env={**os.environ, "CGO_ENABLED": "0"}, check=True,
    )  # fmt: skip
