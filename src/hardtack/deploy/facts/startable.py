"""What a service of systemd's must find, or its start fails: files, users, programs run before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from hardtack.deploy.facts import places, texts
from hardtack.deploy.facts.environments import words
from hardtack.deploy.facts.links import gone, resolved

_PROGRAMS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
"""Where systemd looks for a program that is named without its directory."""
_PREFIXES = "@-:+!|"
_LONGEST = 4096
_FORGIVEN = "-"
_TRUE = ("1", "yes", "true", "on")
_FILES = ("files", "compat", "systemd")
"""Sources of users that are files of the box."""
_KNOWN_BY = {"User": "passwd", "Group": "group"}


def failing(root: Path, name: str, said: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The settings, as they are written, of the unit `name` that says this (key, value), on which
    its start fails. What can't be told doesn't fail. Raises OSError where it may not look."""
    settings: dict[str, list[str]] = {}
    for key, value in said:
        meant = _expanded(value, name)
        settings[key] = [*settings.get(key, []), meant] if value else []
    return (
        *(f"EnvironmentFile={file}" for file in _files(root, settings.get("EnvironmentFile", []))),
        *_unknown(root, settings),
        *places.missing(root, settings),
        *(f"ExecStartPre={command}" for command in _before(root, settings.get("ExecStartPre", []))),
    )


def lacking(root: Path, command: str) -> str:
    """The program of an ExecStart; empty where it is there, and one."""
    program = (words(command) or [""])[0].lstrip(_PREFIXES)
    if not program or "%" in program:
        return ""
    ways = [program] if program.startswith("/") else [f"{d}/{program}" for d in _PROGRAMS]
    found = (resolved(root, way) for way in ways)
    return "" if any(path is not None and _is_program(root, path) for path in found) else program


def _is_program(root: Path, path: Path) -> bool:
    """Not what an upgrade leaves that was broken off, a file that may not be run or is empty; nor
    what one of the system does, a script whose interpreter went with the old version."""
    if not path.is_file() or not path.stat().st_mode & 0o111:
        return False
    with path.open("rb") as file:
        first = file.readline(_LONGEST)
    script = first.removeprefix(b"#!").split() if first.startswith(b"#!") else []
    return bool(first) and (not script or resolved(root, os.fsdecode(script[0])) is not None)


def _expanded(value: str, name: str) -> str:
    """`value` with what stands for the unit's own name; other signs stay."""
    stem = name.rpartition(".")[0]
    prefix, _, instance = stem.partition("@")
    for sign, meant in {"%i": instance, "%p": prefix, "%N": stem, "%n": name}.items():
        value = value.replace(sign, meant)
    return value


def _files(root: Path, named: list[str]) -> Iterator[str]:
    for file in named:
        if not any(sign in file for sign in "*?[") and gone(root, file):
            yield file


def _unknown(root: Path, settings: dict[str, list[str]]) -> Iterator[str]:
    """Users and groups that nobody knows."""
    if places.last(settings, "DynamicUser") in _TRUE:
        return  # they are made when it starts
    for key, database in _KNOWN_BY.items():
        name = places.last(settings, key)
        known = _names(root, database)
        if name and not name.isdecimal() and "%" not in name and known and name not in known:
            yield f"{key}={name}"


def _names(root: Path, database: str) -> frozenset[str]:
    """Those in /etc/passwd or /etc/group; none where others tell them too."""
    for line in texts.of(root / "etc/nsswitch.conf").splitlines():
        which, _, sources = line.partition("#")[0].partition(":")
        if which.strip() == database and not set(sources.split()) <= set(_FILES):
            return frozenset()
    known = texts.of(root / "etc" / database).splitlines()
    return frozenset(line.partition(":")[0] for line in known)


def _before(root: Path, commands: list[str]) -> Iterator[str]:
    for command in commands:
        start = command[: len(command) - len(command.lstrip(_PREFIXES))]
        if _FORGIVEN not in start and lacking(root, command):
            yield command
