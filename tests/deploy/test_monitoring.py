"""Alerts and dashboard: they parse, they fire when they should, and name metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/monitoring"
FROM_PROMETHEUS = {"up", "ALERTS"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return found


def expressions() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def known() -> set[str]:
    """The metrics of docs/metrics.md, which is made from code, as Prometheus stores them."""
    page = (ROOT / "docs/metrics.md").read_text()
    found = set(FROM_PROMETHEUS)
    for name, kind in re.findall(r"^\| `(hardtack_\w+)` \| (\w+) \|", page, re.MULTILINE):
        parts = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        found |= {name + part for part in parts}
    return found


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_metric_named_exists(expression: str) -> None:
    named = set(re.findall(r"(?<![\w\"~.])(?:hardtack_\w+|up|ALERTS)(?=[\[{ )]|$)", expression))
    assert named
    assert named <= known()


@pytest.mark.needs("promtool")
def test_rules_fire_when_they_should(tmp_path: Path) -> None:
    promtool("check", "rules", "rules.yaml")
    promtool("test", "rules", "rules.test.yaml")
    # the dashboard's expressions parse as well
    recorded = [{"record": f"panel{n}", "expr": e} for n, e in enumerate(expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", str(file))


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_explained() -> None:
    alerts = [rule["alert"] for rule in rules()]
    tests = yaml.safe_load((MONITORING / "rules.test.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    page = (ROOT / "docs/operate.md").read_text()
    assert fired == set(alerts)
    assert re.findall(r"^### (Hardtack\w+)$", page, re.MULTILINE) == alerts


def test_the_dashboard_is_whole() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels()]
    assert len(set(places)) == len(places)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels())
    assert all(p["datasource"]["uid"] == "${source}" for p in panels())
