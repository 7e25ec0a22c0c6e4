"""The policy's configuration: `policy.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hardtack.core.errors import PolicyError
from hardtack.manifests.place import Severity
from hardtack.manifests.reference import Reference

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_REMEDY = "See docs/policy.md for what the configuration may say."


@dataclass(frozen=True)
class Own:
    """Images that the deployment's maker builds, by pattern (`registry.example/*`).

    `pull_policies` are those that they may have; `floating_tags` whether their tags may float.
    """

    images: str
    pull_policies: tuple[str, ...] = PULL_POLICIES
    floating_tags: bool = True


@dataclass(frozen=True)
class Config:
    """`platforms` of the fleet (empty: those of the lock); `off` rules with the reason why;
    `severity` by rule; `credentials`: patterns of images that may hold cloud credentials."""

    platforms: tuple[str, ...] = ()
    own: tuple[Own, ...] = ()
    off: Mapping[str, str] = field(default_factory=dict)
    severity: Mapping[str, Severity] = field(default_factory=dict)
    credentials: tuple[str, ...] = ()

    def owner(self, reference: Reference | None) -> Own | None:
        """The entry that makes an image one of the own ones; the first that matches."""
        return next((own for own in self.own if matches(reference, own.images)), None)


def matches(reference: Reference | None, pattern: str) -> bool:
    """Whether a pattern with `*` and `?` names the image, with or without registry and tag."""
    if reference is None:
        return False
    short = reference.with_tag(None).with_digest(None).familiar
    names = (reference.full_repository, short, reference.familiar, reference.name)
    return any(fnmatchcase(name, pattern) for name in names)


def read_config(path: Path, rules: frozenset[str]) -> Config:
    """The configuration in a TOML file. Raises PolicyError, naming the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"The policy configuration {path} can't be read: {error}.") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{path} is not TOML: {error}.") from error
    return parse_config(table, rules, str(path))


def parse_config(table: Any, rules: frozenset[str], where: str) -> Config:
    """The configuration that a table says. `rules` are the ids that exist. Raises PolicyError."""
    table = _table(table, where, {"platforms", "own", "rules", "credentials"})
    off: dict[str, str] = {}
    severity: dict[str, Severity] = {}
    for rule, settings in _table(table.get("rules", {}), f"{where}: rules", None).items():
        if rule not in rules:
            raise PolicyError(
                f"{where}: there is no rule {rule!r}.",
                remedy="`hardtack policy rules` lists them.",
            )
        at = f"{where}: rules.{rule}"
        entry = _table(settings, at, {"off", "severity"})
        if "off" in entry:
            off[rule] = _text(entry["off"], f"{at}.off", "the reason why the rule is off")
        if "severity" in entry:
            severity[rule] = _severity(entry["severity"], at)
    own = tuple(
        _own(entry, f"{where}: own[{n}]")
        for n, entry in enumerate(_list(table.get("own", []), f"{where}: own"))
    )
    return Config(
        _texts(table.get("platforms", []), f"{where}: platforms"),
        own,
        off,
        severity,
        _texts(table.get("credentials", []), f"{where}: credentials"),
    )


def _own(entry: Any, where: str) -> Own:
    entry = _table(entry, where, {"images", "pull-policies", "floating-tags"})
    policies = _texts(entry.get("pull-policies", list(PULL_POLICIES)), f"{where}.pull-policies")
    for policy in policies:
        if policy not in PULL_POLICIES:
            raise PolicyError(
                f"{where}: {policy!r} is no pull policy; expected {', '.join(PULL_POLICIES)}."
            )
    floating = entry.get("floating-tags", True)
    if not isinstance(floating, bool):
        raise PolicyError(f"{where}.floating-tags is {floating!r}; expected true or false.")
    pattern = _text(entry.get("images"), f"{where}.images", "a pattern like 'registry.example/*'")
    return Own(pattern, policies, floating)


def _severity(value: Any, where: str) -> Severity:
    try:
        return Severity(value)
    except ValueError:
        expected = ", ".join(Severity)
        raise PolicyError(f"{where}.severity is {value!r}; expected {expected}.") from None


def _table(value: Any, where: str, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{where} is not a table.", remedy=_REMEDY)
    for key in value:
        if known is not None and key not in known:
            raise PolicyError(
                f"{where}: {key!r} means nothing here; expected {', '.join(sorted(known))}."
            )
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PolicyError(f"{where} is not a list.", remedy=_REMEDY)
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_text(item, where, "strings") for item in _list(value, where))


def _text(value: Any, where: str, wanted: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PolicyError(f"{where} is {value!r}; expected {wanted}.", remedy=_REMEDY)
    return value
