"""Carrying out the safe fixes of findings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hardtack.core.files import write_atomically
from hardtack.policy.rule import Edit, Finding


def fix(findings: Iterable[Finding]) -> dict[Path, int]:
    """Carry out the findings' edits; gives how many lines were edited in each file.

    A line that is no longer what the finding saw is left alone. Line endings, comments and all
    else stay. Fixing a second time changes nothing. Raises OSError where a file can't be written.
    """
    edits: dict[Path, dict[int, list[Edit]]] = {}
    for finding in findings:
        if edit := finding.edit:
            of_line = edits.setdefault(edit.file, {}).setdefault(edit.line, [])
            if edit not in of_line:
                of_line.append(edit)
    return {file: done for file, lines in sorted(edits.items()) if (done := _fix_file(file, lines))}


def _fix_file(file: Path, edits: dict[int, list[Edit]]) -> int:
    # Bytes that are no UTF-8 stay what they are.
    lines = file.read_bytes().decode(errors="surrogateescape").split("\n")
    done = 0
    # From the bottom up, so that lines put in don't move those still to be edited.
    for number in sorted(edits, reverse=True):
        if number > len(lines):
            continue
        text = lines[number - 1].rstrip("\r")
        ending = lines[number - 1][len(text) :]
        edit = edits[number][0]
        there = tuple(line.rstrip("\r") for line in lines[number - 1 :][: len(edit.new)])
        if text == edit.old and there != edit.new:
            lines[number - 1 : number] = [line + ending for line in edit.new]
            done += 1
    if done:
        write_atomically(
            file,
            "\n".join(lines).encode(errors="surrogateescape"),
            mode=file.stat().st_mode & 0o7777,
        )
    return done
