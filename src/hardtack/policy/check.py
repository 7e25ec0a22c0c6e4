"""Checking a deployment against every rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardtack.manifests.place import Place, Severity
from hardtack.policy.config import Config
from hardtack.policy.deployment import Deployment, read
from hardtack.policy.locked import read_locked
from hardtack.policy.rule import Finding, Found, Rule
from hardtack.policy.rules import BY_ID, RULES
from hardtack.policy.suppression import Suppression, suppressions

_WEIGHT = {Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 2}


@dataclass(frozen=True)
class Suppressed:
    """A finding that a comment suppresses, and the comment's reason."""

    finding: Finding
    reason: str


@dataclass(frozen=True)
class Report:
    """What breaks a rule, by file and line, and what would, had it not been suppressed."""

    findings: tuple[Finding, ...]
    suppressed: tuple[Suppressed, ...] = ()

    def failed(self, least: Severity = Severity.ERROR) -> bool:
        """Whether a finding is at least as severe."""
        return any(_WEIGHT[found.severity] >= _WEIGHT[least] for found in self.findings)


def check(
    paths: Iterable[Path], config: Config | None = None, *, lock: Path | None = None,
    values: Sequence[Path] = (),
) -> Report:  # fmt: skip
    """What in `paths` (files, or directories walked in order) breaks a rule. Changes nothing.

    With a `lock` (`images.lock`) its rules run too. Raises ManifestError for a path that doesn't
    exist or for `values`, files set over those of charts, that can't be read; LockError for a lock
    that can't.
    """
    config = config or Config()
    return check_deployment(read(paths, config, read_locked(lock) if lock else None, values))


def check_deployment(deployment: Deployment) -> Report:
    """`check` for what has been read already."""
    every = [
        _finding(rule, found, deployment.config)
        for rule in RULES
        if rule.id not in deployment.config.off
        for found in rule.check(deployment)
    ]
    comments = list(suppressions(deployment.texts))
    kept, suppressed, used = _sorted_out(dict.fromkeys(every), comments)
    for rule, found in _about(comments, used, deployment.config):
        if rule.id not in deployment.config.off:
            kept.append(_finding(rule, found, deployment.config))
    return Report(
        tuple(sorted(kept, key=_order)),
        tuple(sorted(suppressed, key=lambda one: _order(one.finding))),
    )


def _finding(rule: Rule, found: Found, config: Config) -> Finding:
    severity = config.severity.get(rule.id, rule.severity)
    return Finding(rule.id, severity, found.place, found.message, found.edit)


def _sorted_out(
    findings: Iterable[Finding], comments: Iterable[Suppression]
) -> tuple[list[Finding], list[Suppressed], set[Place]]:
    """(findings that stay, those suppressed, places of the comments that suppressed any)."""
    by_line: dict[tuple[Path, int, str], Suppression] = {}
    for comment in comments:
        by_line.setdefault((comment.place.file, comment.line, comment.rule), comment)
    kept: list[Finding] = []
    suppressed: list[Suppressed] = []
    used: set[Place] = set()
    for finding in findings:
        allowed = by_line.get((finding.place.file, finding.place.line, finding.rule))
        if allowed is None:
            kept.append(finding)
        else:
            suppressed.append(Suppressed(finding, allowed.reason))
            used.add(allowed.place)
    return kept, suppressed, used


def _about(
    comments: Iterable[Suppression], used: set[Place], config: Config
) -> Iterator[tuple[Rule, Found]]:
    """What is wrong with the suppressions themselves."""
    for comment in comments:
        if not comment.reason:
            yield (
                BY_ID["suppression-without-reason"],
                Found(comment.place, f"`allow {comment.rule}` says no reason why"),
            )
        if comment.rule not in BY_ID:
            yield (
                BY_ID["suppression-unused"],
                Found(comment.place, f"there is no rule {comment.rule!r} to allow"),
            )
        elif comment.place not in used and comment.rule not in config.off:
            yield (
                BY_ID["suppression-unused"],
                Found(comment.place, f"{comment.rule} finds nothing here that this could allow"),
            )


def _order(finding: Finding) -> tuple[str, int, int, str, str]:
    place = finding.place
    return str(place.file), place.line, place.column, finding.rule, finding.message
