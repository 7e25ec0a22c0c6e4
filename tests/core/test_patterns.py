"""The regular expressions of the product, on every Python that it supports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import hardtack

POSSESSIVE = re.compile(r"(?<!\\)[*+?}]\+|\(\?>")


def _patterns(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re")), args=[first, *_]):
                for part in ast.walk(first):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value


def test_no_pattern_is_possessive() -> None:
    """Python 3.11.2, which is Debian 12's, misses matches of possessive repeats."""
    found: dict[str, list[str]] = {}
    count = 0
    for file in Path(hardtack.__file__).parent.rglob("*.py"):
        patterns = list(_patterns(ast.parse(file.read_text(encoding="utf-8"))))
        count += len(patterns)
        if bad := [pattern for pattern in patterns if POSSESSIVE.search(pattern)]:
            found[str(file)] = bad
    assert count > 100
    assert found == {}
