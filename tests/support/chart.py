"""Our chart, rendered by a real Helm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.helm import helm

CHART = Path(__file__).resolve().parents[2] / "charts" / "hardtack"
Manifest = dict[str, Any]


class Refused(Exception):
    """Helm renders nothing; its message."""


def template(
    values: dict[str, Any] | None = None,
    *,
    version: int = 3,
    kubernetes: str = "1.34.0",
    chart: Path = CHART,
    options: tuple[str, ...] = (),
) -> str:
    """The chart with `values` over its own, as text. Raises Refused."""
    done = subprocess.run(
        [helm(version), "template", "edge", chart, "--namespace", "edge", "--values", "-",
         "--kube-version", kubernetes, *options],
        input=json.dumps(values or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def rendered(values: dict[str, Any] | None = None, **how: Any) -> list[Manifest]:
    """The chart's manifests; see `template`."""
    return [one for one in yaml.load_all(template(values, **how), yaml.CSafeLoader) if one]


def find(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name)
    return found


def containers(manifest: Manifest) -> dict[str, Manifest]:
    """Init containers and containers of a pod template, by name, in their order."""
    spec = manifest["spec"]["template"]["spec"] if "template" in manifest["spec"] else (
        manifest["spec"])  # fmt: skip
    return {c["name"]: c for c in (*spec.get("initContainers", ()), *spec["containers"])}


def pod_specs(manifests: list[Manifest]) -> list[tuple[Manifest, Manifest]]:
    """Each manifest that holds pods, with their spec."""
    found = []
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            found.append((manifest, manifest["spec"]))
        elif "template" in manifest.get("spec", {}):
            found.append((manifest, manifest["spec"]["template"]["spec"]))
    return found
