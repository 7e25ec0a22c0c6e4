"""Reports: text, JSON, GitHub annotations, and SARIF by its own schema."""

import json
from pathlib import Path

import jsonschema
import pytest

from hardtack.policy.check import Report
from hardtack.policy.report import as_github, as_json, as_sarif, as_text
from hardtack.policy.rules import RULES
from tests.support.deployments import checked, pod
from tests.support.sarif import schema

NAME = "a b%.yaml"


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.chdir(tmp_path)
    allowed = pod(policy="Always").replace(
        "image: alpine:3.20.3", "image: alpine:3.20.3  # hardtack: allow pull-always online"
    )
    return checked(tmp_path, {NAME: pod(image="busybox", policy=""), "b.yaml": allowed})


def test_text(report: Report, tmp_path: Path) -> None:
    first, second, last = as_text(report).splitlines()
    assert first.startswith(f"{tmp_path / NAME}:8: error: busybox is not one fixed image")
    assert first.endswith("[floating-tag]")
    assert second.endswith("[pull-always-by-default]")
    assert last == "2 errors; 1 can be fixed by --fix; 1 suppressed"


def test_text_of_nothing() -> None:
    assert as_text(Report(())) == "nothing found\n"


def test_json(report: Report, tmp_path: Path) -> None:
    document = json.loads(as_json(report))
    found = document["findings"][0]
    assert found["rule"] == "floating-tag"
    assert found["severity"] == "error"
    assert found["file"] == str(tmp_path / NAME)
    assert found["line"] == 8
    assert "busybox" in found["message"]
    assert [one["reason"] for one in document["suppressed"]] == ["online"]


def test_github(report: Report) -> None:
    lines = as_github(report).splitlines()
    assert len(lines) == len(report.findings)
    assert lines[0].startswith("::error file=a b%25.yaml,line=8,col=14,title=floating-tag::busybox")


def test_github_escapes_what_would_start_another_command(tmp_path: Path) -> None:
    text = 'kind: Pod\nspec: {containers: [{image: "x y\\n::error::z"}]}\n'
    made = as_github(checked(tmp_path, {"p,1.yaml": text}))
    assert made
    assert all(line.startswith("::") and "p%2C1.yaml" in line for line in made.splitlines())


@pytest.mark.needs("npm")
def test_sarif_by_its_schema(report: Report) -> None:
    document = json.loads(as_sarif(report))
    validator = jsonschema.Draft7Validator(schema())
    assert list(validator.iter_errors(document)) == []
    assert list(validator.iter_errors({**document, "version": "2.0.0"})) != []
    document["runs"][0]["results"][0]["nonsense"] = 1
    assert list(validator.iter_errors(document)) != []


def test_sarif_names_rules_lines_and_suppressions(report: Report) -> None:
    (run,) = json.loads(as_sarif(report))["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [rule.id for rule in RULES]
    first, *_, last = run["results"]
    assert RULES[first["ruleIndex"]].id == first["ruleId"] == "floating-tag"
    (place,) = first["locations"]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "a%20b%25.yaml"
    assert place["physicalLocation"]["region"] == {"startLine": 8, "startColumn": 14}
    assert last["suppressions"] == [{"kind": "inSource", "justification": "online"}]
