"""Plain manifests from the chart, and what an upgrade must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_chart import EVERYTHING
from tests.support.chart import CHART, Manifest, pod_specs, rendered
from tests.support.commands import run
from tests.support.helm import helm

pytestmark = pytest.mark.needs("npm")

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "deploy" / "k3s"
GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", [3, 4])
def test_the_plain_manifests_are_up_to_date(version: int) -> None:
    done = run("deploy", "render", "--output", PLAIN, "--check",
               env={"HELM": str(helm(version))})  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_they_are_what_helm_would_install() -> None:
    """All that the chart makes by default but its tests, and a namespace."""
    ours = [d for f in PLAIN.glob("*.yaml") for d in yaml.safe_load_all(f.read_text())]
    charts = [m for m in rendered(kubernetes="1.28.0") if not m["metadata"].get("annotations")]
    key = lambda m: (m["kind"], m["metadata"]["name"])  # noqa: E731
    assert sorted(map(key, ours)) == sorted([*map(key, charts), ("Namespace", "edge")])


def test_writing_and_checking(tmp_path: Path) -> None:
    env = {"HELM": str(helm(3))}
    (tmp_path / "v.yaml").write_text("httpEnabled: true\n")
    target = tmp_path / "out"
    options = ("deploy", "render", "--values", str(tmp_path / "v.yaml"), "-o", str(target))
    assert run(*options, "--check", env=env).returncode == 1
    assert run(*options, env=env).returncode == 0
    assert run(*options, "--check", env=env).returncode == 0
    assert "30101" in (target / "service.yaml").read_text()
    stale = target / "gone.yaml"
    stale.write_text((target / "service.yaml").read_text())
    (target / "own.yaml").write_text("kind: ConfigMap\n")
    assert "gone.yaml" in run(*options, "--check", env=env).stderr
    assert run(*options, env=env).returncode == 0
    assert not stale.exists() and (target / "own.yaml").exists()
    whole = run("deploy", "render", env=env).stdout
    assert next(d["kind"] for d in yaml.safe_load_all(whole)) == "Namespace"


def test_what_rendering_refuses(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("s3Mount: {buckett: x}\n")
    done = run("deploy", "render", "--values", tmp_path / "v.yaml", env={"HELM": str(helm(3))})
    assert done.returncode == 50 and "buckett" in done.stderr
    none = run("deploy", "render", env={"HELM": str(tmp_path / "none")})
    assert none.returncode == 50 and "Install Helm" in none.stderr
    assert run("deploy", "render", "--check").returncode == 2


def test_the_policy_finds_nothing_in_deploy() -> None:
    done = run("policy", "check", ROOT / "deploy", ROOT / "Dockerfile", "--strict")
    assert (done.returncode, done.stdout) == (0, "nothing found\n")


def kept(manifests: list[Manifest]) -> dict[str, Any]:
    """What an upgrade can't or mustn't change: names, selectors, and where data lies."""
    found: dict[str, Any] = {}
    specs = {id(manifest): spec for manifest, spec in pod_specs(manifests)}
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        facts = {}
        if selector := manifest.get("spec", {}).get("selector"):
            facts["selector"] = selector
        if spec := specs.get(id(manifest)):
            facts["containers"] = sorted(
                c["name"] for c in (*spec.get("initContainers", ()), *spec["containers"])
            )
            facts["volumes"] = {
                v["name"]: v.get("hostPath", {}).get("path", "") for v in spec.get("volumes", ())
            }
        found[name] = facts
    return found


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_upgrade_keeps_names_and_volumes(golden: Path) -> None:
    """Each version of the chart left a file; what stands in it is still so."""
    before = yaml.safe_load(golden.read_text())
    for name, values in (("default", {}), ("everything", EVERYTHING)):
        now = kept(rendered(values))
        for manifest, facts in before[name].items():
            assert facts.items() <= now[manifest].items(), manifest


def test_this_version_left_one() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert (GOLDEN / f"{version}.yaml").is_file()
