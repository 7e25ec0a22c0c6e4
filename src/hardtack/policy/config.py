"""The policy's configuration: `policy.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hardtack.core.errors import PolicyError
from hardtack.core.typos import meant, toml_line
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
        raise PolicyError(
            f"{path} is not TOML: {error}.", remedy="Mend it as docs/policy.md shows one."
        ) from error
    return _config(table, rules, _At(str(path), text))


@dataclass(frozen=True)
class _At:
    """A key of the file, for errors: `policy.toml:3: rules.floating-tag`."""

    name: str
    text: str
    keys: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        words = [key for key in self.keys if isinstance(key, str)]
        line = 0
        while words and not line:  # a key that is missing: where its table stands
            line = toml_line(self.text, words)
            words.pop()
        place = f"{self.name}:{line}" if line else self.name
        label = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in self.keys)
        return f"{place}: {label[1:]}" if label else place

    def key(self, key: str | int) -> _At:
        return _At(self.name, self.text, (*self.keys, key))


def _config(table: Any, rules: frozenset[str], at: _At) -> Config:
    table = _table(table, at, {"platforms", "own", "rules", "credentials"})
    off: dict[str, str] = {}
    severity: dict[str, Severity] = {}
    for rule, settings in _table(table.get("rules", {}), at.key("rules"), None).items():
        here = at.key("rules").key(rule)
        if rule not in rules:
            raise PolicyError(
                f"{here}: there is no rule {rule!r}.",
                remedy=meant(rule, rules) or "`hardtack policy rules` lists them.",
            )
        entry = _table(settings, here, {"off", "severity"})
        if "off" in entry:
            off[rule] = _text(entry["off"], here.key("off"), "the reason why the rule is off")
        if "severity" in entry:
            severity[rule] = _severity(entry["severity"], here.key("severity"))
    own = tuple(
        _own(entry, at.key("own").key(n))
        for n, entry in enumerate(_list(table.get("own", []), at.key("own")))
    )
    return Config(
        _texts(table.get("platforms", []), at.key("platforms")),
        own,
        off,
        severity,
        _texts(table.get("credentials", []), at.key("credentials")),
    )


def _own(entry: Any, at: _At) -> Own:
    entry = _table(entry, at, {"images", "pull-policies", "floating-tags"})
    policies = _texts(entry.get("pull-policies", list(PULL_POLICIES)), at.key("pull-policies"))
    for policy in policies:
        if policy not in PULL_POLICIES:
            raise PolicyError(
                f"{at.key('pull-policies')}: {policy!r} is no pull policy; "
                f"expected {', '.join(PULL_POLICIES)}."
            )
    floating = entry.get("floating-tags", True)
    if not isinstance(floating, bool):
        raise PolicyError(f"{at.key('floating-tags')} is {floating!r}; expected true or false.")
    pattern = _text(entry.get("images"), at.key("images"), "a pattern like 'registry.example/*'")
    return Own(pattern, policies, floating)


def _severity(value: Any, at: _At) -> Severity:
    try:
        return Severity(value)
    except ValueError:
        raise PolicyError(f"{at} is {value!r}; expected {', '.join(Severity)}.") from None


def _table(value: Any, at: _At, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{at} is not a table.", remedy=_REMEDY)
    for key in value:
        if known is not None and key not in known:
            raise PolicyError(
                f"{at.key(key)}: {key!r} means nothing here; expected {', '.join(sorted(known))}.",
                remedy=meant(key, known) or _REMEDY,
            )
    return value


def _list(value: Any, at: _At) -> list[Any]:
    if not isinstance(value, list):
        raise PolicyError(f"{at} is not a list.", remedy=_REMEDY)
    return value


def _texts(value: Any, at: _At) -> tuple[str, ...]:
    return tuple(_text(item, at, "strings") for item in _list(value, at))


def _text(value: Any, at: _At, wanted: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PolicyError(f"{at} is {value!r}; expected {wanted}.", remedy=_REMEDY)
    return value
