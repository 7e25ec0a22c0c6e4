"""Every rule, by families."""

from __future__ import annotations

from hardtack.policy.rule import Rule
from hardtack.policy.rules import (
    credentials,
    downloads,
    hidden,
    lock,
    mounts,
    platforms,
    pull_policy,
    rbac,
    shell,
    suppressions,
    tags,
)

FAMILIES: tuple[tuple[str, tuple[Rule, ...]], ...] = (
    ("Pull policies", pull_policy.RULES),
    ("Tags and versions", tags.RULES),
    ("Lock and preload lists", lock.RULES),
    ("Platforms", platforms.RULES),
    ("Hidden, unknown, unreadable", hidden.RULES),
    ("Downloads at run time", downloads.RULES),
    ("Shell", shell.RULES),
    ("Mounts", mounts.RULES),
    ("Credentials", credentials.RULES),
    ("Rights", rbac.RULES),
    ("Suppressions", suppressions.RULES),
)
RULES: tuple[Rule, ...] = tuple(rule for _, rules in FAMILIES for rule in rules)
BY_ID: dict[str, Rule] = {rule.id: rule for rule in RULES}
