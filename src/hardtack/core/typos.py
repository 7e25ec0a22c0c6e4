"""Where in a TOML file a key stands, and which known word a wrong one was meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TABLE = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([\w-]+))\s*\.?""")


def toml_line(text: str, keys: Sequence[str]) -> int:
    """The line on which the key `keys` (tables first) stands in the TOML `text`; 0 when it stands
    in an inline table, or nowhere."""
    wanted = tuple(keys)
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            found = table = _parts(match[1])
        elif match := _KEY.match(line):
            found = table + _parts(match[1])
        else:
            continue
        if wanted and found[: len(wanted)] == wanted:
            return number
    return 0


def meant(word: str, known: Iterable[str], *, within: str = "") -> str:
    """`Did you mean 'x'?`, whatever its case; empty when no known word is near.

    `within` is what stands before each of the words, such as the table that they are keys of.
    """
    import difflib  # late: who writes no word wrong doesn't pay for it

    by_letters = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), by_letters, n=1)
    return f"Did you mean {within + by_letters[near[0]]!r}?" if near else ""


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(next(filter(None, groups), "") for groups in _PART.findall(dotted))
