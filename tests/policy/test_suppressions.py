"""Findings that comments suppress, and comments that are findings."""

from pathlib import Path

import pytest

from hardtack.manifests.place import Severity
from tests.support.deployments import brief, checked, pod

ALWAYS = pod(policy="Always")


def commented(line: int, comment: str, *, own_line: bool = False) -> str:
    lines = ALWAYS.splitlines()
    if own_line:
        lines.insert(line - 1, f"      {comment}")
    else:
        lines[line - 1] += f"  {comment}"
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("own_line", [True, False])
def test_a_comment_with_a_reason(tmp_path: Path, own_line: bool) -> None:
    text = commented(8, "# hardtack: allow pull-always the workshop is online", own_line=own_line)
    report = checked(tmp_path, {"pod.yaml": text})
    assert brief(report) == []
    (suppressed,) = report.suppressed
    assert suppressed.finding.rule == "pull-always"
    assert suppressed.reason == "the workshop is online"
    assert not report.failed()


def test_without_a_reason_it_suppresses_and_is_a_finding(tmp_path: Path) -> None:
    report = checked(tmp_path, {"pod.yaml": commented(8, "# hardtack: allow pull-always")})
    assert brief(report) == [("suppression-without-reason", 8)]
    assert report.failed()


def test_it_is_about_one_rule_on_one_line(tmp_path: Path) -> None:
    text = commented(3, "# hardtack: allow pull-always not here")
    assert brief(checked(tmp_path, {"pod.yaml": text})) == [
        ("suppression-unused", 3),
        ("pull-always", 8),
    ]


def test_a_rule_that_does_not_exist(tmp_path: Path) -> None:
    report = checked(tmp_path, {"pod.yaml": commented(8, "# hardtack: allow pull-alway typing")})
    assert ("suppression-unused", 8) in brief(report)
    assert ("pull-always", 8) in brief(report)
    assert any("'pull-alway'" in found.message for found in report.findings)


def test_in_a_dockerfile_and_between_comments(tmp_path: Path) -> None:
    text = (
        "FROM alpine:3.20.3\n# hardtack: allow hidden-failure the file is optional\n"
        "# more about it\n\nRUN wget -q https://example.com/x || true\n"
    )
    report = checked(tmp_path, {"Dockerfile": text})
    assert brief(report) == []
    assert len(report.suppressed) == 1


def test_in_a_helm_template(tmp_path: Path) -> None:
    text = commented(
        8, "{{/* hardtack: allow pull-always the workshop is online */}}", own_line=True
    )
    files = {"Chart.yaml": "name: box\nversion: 1.0.0\n", "templates/pod.yaml": text}
    report = checked(tmp_path, files)
    assert brief(report) == []
    assert [one.reason for one in report.suppressed] == ["the workshop is online"]


def test_failing_is_a_matter_of_severity(tmp_path: Path) -> None:
    report = checked(tmp_path, {"pod.yaml": pod(policy="")})
    assert [found.severity for found in report.findings] == [Severity.WARNING]
    assert not report.failed()
    assert report.failed(Severity.WARNING)
