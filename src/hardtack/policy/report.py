"""A report as text, JSON, SARIF 2.1.0 and GitHub annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hardtack import __version__
from hardtack.manifests.place import Severity
from hardtack.policy.check import Report
from hardtack.policy.rule import Finding, Rule
from hardtack.policy.rules import RULES

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_GITHUB = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def as_text(report: Report) -> str:
    """A line for each finding, then how many there are."""
    lines = [
        f"{found.place}: {found.severity}: {found.message} [{found.rule}]"
        for found in report.findings
    ]
    counts = Counter(found.severity for found in report.findings)
    told = [_counted(counts[severity], severity) for severity in Severity if counts[severity]]
    fixable = sum(found.edit is not None for found in report.findings)
    if fixable:
        told.append(f"{fixable} can be fixed by --fix")
    if report.suppressed:
        told.append(f"{len(report.suppressed)} suppressed")
    lines.append("; ".join(told) if told else "nothing found")
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """`{"findings": [{rule, severity, file, line, column, message, fixable}], "suppressed": […]}`,
    the latter with their `reason`."""
    document = {
        "findings": [_row(found) for found in report.findings],
        "suppressed": [_row(one.finding) | {"reason": one.reason} for one in report.suppressed],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_github(report: Report) -> str:
    """Workflow commands that GitHub shows beside the lines of a pull request."""
    lines = []
    for found in report.findings:
        file = _escaped(_relative(found.place.file), also=",:")
        message = _escaped(found.message)
        lines.append(
            f"::{_GITHUB[found.severity]} file={file},line={found.place.line},"
            f"col={found.place.column},title={found.rule}::{message}"
        )
    return "".join(f"{line}\n" for line in lines)


def as_sarif(report: Report) -> str:
    """SARIF 2.1.0; suppressed findings are in it, as suppressed."""
    index = {rule.id: number for number, rule in enumerate(RULES)}
    results = [_result(found, index) for found in report.findings]
    for one in report.suppressed:
        suppression = {"kind": "inSource", "justification": one.reason or "no reason given"}
        results.append(_result(one.finding, index) | {"suppressions": [suppression]})
    driver = {
        "name": "hardtack",
        "semanticVersion": __version__,
        "rules": [_descriptor(rule) for rule in RULES],
    }
    document = {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
}


def _row(found: Finding) -> dict[str, Any]:
    return {
        "rule": found.rule,
        "severity": str(found.severity),
        "file": str(found.place.file),
        "line": found.place.line,
        "column": found.place.column,
        "message": found.message,
        "fixable": found.edit is not None,
    }


def _descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.explanation},
        "help": {"text": f"`hardtack policy explain {rule.id}` shows it wrong and right."},
        "defaultConfiguration": {"level": str(rule.severity)},
    }


def _result(found: Finding, index: Mapping[str, int]) -> dict[str, Any]:
    place = found.place
    return {
        "ruleId": found.rule,
        "ruleIndex": index[found.rule],
        "level": str(found.severity),
        "message": {"text": found.message},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(place.file)},
                    "region": {"startLine": place.line, "startColumn": place.column},
                }
            }
        ],
    }


def _relative(file: Path) -> str:
    """The path from the working directory where it lies below it, as reports of CI want it."""
    here = Path.cwd()
    return file.relative_to(here).as_posix() if file.is_relative_to(here) else file.as_posix()


def _uri(file: Path) -> str:
    path = Path(_relative(file))
    if path.is_absolute():
        return path.as_uri()
    # A scheme-less relative URI: escaped as an absolute one, then made relative again.
    return Path("/", path).as_uri().removeprefix("file:///")


def _escaped(text: str, also: str = "") -> str:
    for char in "%\r\n" + also:
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _counted(number: int, severity: Severity) -> str:
    return f"{number} {severity}{'s' if number != 1 else ''}"
