"""Comments that suppress findings: `# hardtack: allow RULE reason`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hardtack.manifests.place import Place

_COMMENT = re.compile(
    r"(?:^|\s)(?:#|\{\{-?\s*/\*)\s*hardtack:\s*allow\b[ \t]*(?P<rule>[^\s*]*)(?P<reason>[^*\n]*)"
)
_ONLY_COMMENT = re.compile(r"\s*(?:#|\{\{-?\s*/\*|$)")


@dataclass(frozen=True)
class Suppression:
    """`line` is the one whose findings it suppresses, `place` where it stands itself."""

    place: Place
    line: int
    rule: str
    reason: str


def suppressions(texts: Mapping[Path, str]) -> Iterator[Suppression]:
    """Every suppression in the files. One that has a line for itself is about the next line that
    is neither empty nor a comment."""
    for file, text in texts.items():
        if "hardtack:" not in text:
            continue
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if found := _COMMENT.search(line):
                about = number
                if _ONLY_COMMENT.match(line):
                    about = next(
                        (n for n in range(number + 1, len(lines) + 1)
                         if not _ONLY_COMMENT.match(lines[n - 1])),
                        number,
                    )  # fmt: skip
                yield Suppression(
                    Place(file, number), about, found["rule"], found["reason"].strip(" \t\r-–:,")
                )
