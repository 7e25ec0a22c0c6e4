"""The chart's README, from the comments in its values.yaml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

_KEY = re.compile(r"( *)([\w-]+):(.*)")
_HEAD = """\
# hardtack: the chart

{made}
One pod answers image queries; the weights' mount is a sidecar of it, or a DaemonSet on a cluster.
Inference servers are made by the endpoint, one for each detector. All of it is one image.
`docs/deploy.md` leads from nothing to a box that is ready; `docs/moving-from-edge-endpoint.md` from
where you are.

    helm upgrade --install edge charts/hardtack -n edge --create-namespace --values values.yaml
    helm test edge -n edge

Kubernetes 1.28 and later, Helm 3 and 4. Values that don't exist are refused by
`values.schema.json`.
"""


def render(values: Path, made: str) -> str:
    """The README's text."""
    text = values.read_text()
    plain = yaml.safe_load(text)
    parts = [_HEAD.format(made=made)]
    for title, rows in _sections(text):
        parts.append(f"## {title}\n\n| value | default | |\n| --- | --- | --- |")
        parts += [f"| `{key}` | {_shown(plain, key)} | {words} |" for key, words in rows]
        parts.append("")
    return "\n".join(parts)


def _sections(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    found: list[tuple[str, list[tuple[str, str]]]] = [("Names", [])]
    comment: list[str] = []
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            found.append((stripped.removeprefix("# -- "), []))
        elif stripped.startswith("#"):
            comment.append(stripped.lstrip("# "))
        elif key := _KEY.fullmatch(line):
            depth = len(key[1])
            above = [one for one in above if one[0] < depth]
            above.append((depth, key[2]))
            if comment:
                words = " ".join(comment).replace("|", "\\|")
                found[-1][1].append((".".join(name for _, name in above), words))
            comment = []
    return found


def _shown(values: Any, key: str) -> str:
    for name in key.split("."):
        values = values[name]
    return (
        ""
        if values in ("", {}, [])
        else f"`{json.dumps(values)}`".replace('`"', "`").replace('"`', "`")
    )
