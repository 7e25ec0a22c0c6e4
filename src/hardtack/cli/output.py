"""What commands print: tables for people, JSON for programs; both on stdout."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

import click

from hardtack.core.logs import printable

NARROWEST = 10
"""Characters below which no column is folded."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def plain(value: Any) -> Any:
    """`value` as what JSON can hold."""
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def print_json(value: Any) -> None:
    """`value` (dataclasses welcome) as indented JSON."""
    import json  # late, as dataclasses: few commands print it

    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_line(text: str, *, err: bool = False) -> None:
    """One line that holds a name from the source, whatever is in that."""
    click.echo(printable(text), err=err)


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False
) -> None:
    """Columns as wide as their widest cell; numbers to the right. `err`: to stderr.

    On a terminal that is too narrow the widest columns are folded; elsewhere a row is a line.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    natural = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    widths = fitted(natural, _room(err) - 2 * (len(natural) - 1))
    right = [
        bool(cells) and all(row[i][:1].isdigit() or not row[i] for row in cells)
        for i in range(len(headings))
    ]
    for row in [list(headings), ["─" * w for w in widths], *cells]:
        folded = [_fold(cell, w) for cell, w in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*folded, fillvalue=""):
            parts = (
                cell.rjust(w) if r else cell.ljust(w)
                for cell, w, r in zip(line, widths, right, strict=True)
            )
            click.echo("  ".join(parts).rstrip(), err=err)


def fitted(natural: Sequence[int], room: int) -> list[int]:
    """The widths of columns in `room` characters: only the widest ones give way, alike."""
    if sum(natural) <= room:
        return list(natural)
    cap = max(natural)
    while cap > NARROWEST and sum(min(width, cap) for width in natural) > room:
        cap -= 1
    return [min(width, cap) for width in natural]


def _room(err: bool) -> int:
    """The terminal's width; more than any table's where there is no terminal."""
    stream: TextIO = sys.stderr if err else sys.stdout
    if not stream.isatty():
        return sys.maxsize
    import shutil  # late: it brings three libraries for compression

    return shutil.get_terminal_size().columns


def _fold(cell: str, width: int) -> list[str]:
    """`cell` in lines of `width`: at spaces, and where a word is longer, anywhere."""
    if len(cell) <= width:
        return [cell]
    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


def print_lines(text: str) -> None:
    """Each line of `text`; one that is too long for the terminal is folded at spaces, indented."""
    room = max(NARROWEST, _room(err=False))
    for line in text.splitlines():
        folded = [line]
        if len(line) > room:
            folded = textwrap.wrap(
                line,
                room,
                subsequent_indent="  ",
                break_on_hyphens=False,
                break_long_words=False,  # a path stays one to copy
            )
        click.echo("\n".join(folded))


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """`name  value`, a line each."""
    pairs = [(name, printable(str(value))) for name, value in facts]
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        first, *others = _fold(value, max(NARROWEST, _room(err=False) - width - 2))
        click.echo(f"{name.ljust(width)}  {first}")
        for line in others:
            click.echo(f"{' ' * width}  {line}")
