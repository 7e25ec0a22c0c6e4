"""Edits of single lines that leave indentation, comments and everything else as they are."""

from __future__ import annotations

import re

from hardtack.manifests.place import Place
from hardtack.policy.deployment import Deployment
from hardtack.policy.rule import Edit

_KEY = re.compile(r"(?P<lead>\s*(?:-\s+)*)(?P<key>[A-Za-z]+):(?:\s+(?P<value>[^\s#].*))?\s*$")
_OPENS = ("{", "[", "|", ">", "&", "*", '"', "'")


def beside(deployment: Deployment, place: Place, key: str, line: str) -> Edit | None:
    """An edit that writes `line` below the one at `place`, as a key of the same mapping.

    None where the line isn't a plain `key: value` of its own (flow style, JSON, base64, several
    lines), because then no safe edit is known.
    """
    old = deployment.line_of(place)
    found = _KEY.fullmatch(old)
    if not found or found["key"] != key or not found["value"]:
        return None
    value = found["value"]
    if value[0] in _OPENS and not _whole(value):
        return None
    indent = re.sub(r"[^ ]", " ", found["lead"])
    return Edit(place.file, place.line, old, (old, indent + line))


def instead(deployment: Deployment, place: Place, key: str, was: str, becomes: str) -> Edit | None:
    """An edit that puts the value `becomes` in place of `was`, where the line says just that."""
    old = deployment.line_of(place)
    quoted = rf"(?P<quote>[\"']?){re.escape(was)}(?P=quote)"
    found = re.fullmatch(
        rf"(?P<lead>\s*(?:-\s+)*{re.escape(key)}:\s+){quoted}(?P<rest>\s*(?:#.*)?)", old
    )
    if not found:
        return None
    return Edit(place.file, place.line, old, (found["lead"] + becomes + found["rest"],))


def _whole(value: str) -> bool:
    """A quoted string, perhaps with a comment behind, or a template's action, on one line."""
    return bool(
        re.fullmatch(r"""("[^"]*"|'[^']*'|"[^"]*\{\{.*\}\}[^"]*"|\{\{.*\}\}\S*)\s*(#.*)?""", value)
    )
