"""How systemd starts the endpoint: of which files its environment and its command tell it."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from hardtack.deploy.facts import environments
from hardtack.deploy.facts.boot import Boot
from hardtack.deploy.facts.links import gone
from hardtack.deploy.facts.unitfiles import UnitFiles

UNIT = "hardtack-endpoint.service"
_READ_FIRST = ("--detectors", "--config", "--token-file", "--upstream-ca")
_VARIABLE = "HARDTACK_ENDPOINT_"


def told(root: Path, *options: str) -> dict[str, str]:
    """Of `options` (`--tls-cert`) those that are given, with their values, where the endpoint is
    started at boot. Raises OSError where it may not look."""
    files = UnitFiles(root)
    if not files.there(UNIT) or not Boot(files).starts(UNIT):
        return {}
    return _given(root, list(files.settings(UNIT)), options)


def missing(root: Path, said: list[tuple[str, str]]) -> tuple[str, ...]:
    """The options, with their files, without which the endpoint of a unit that says this (key,
    value) ends at once. Raises OSError where it may not look."""
    files = _given(root, said, _READ_FIRST)
    return tuple(f"{option} {file}" for option, file in files.items() if gone(root, file))


def _given(root: Path, said: list[tuple[str, str]], options: tuple[str, ...]) -> dict[str, str]:
    found = environments.variables(root, said)
    given = {each: found.get(_variable(each), "") for each in options}
    commands = [value for key, value in said if key == "ExecStart" and value]
    given |= _in_command(environments.words(commands[-1] if commands else ""), options)
    return {option: value for option, value in given.items() if value}


def _variable(option: str) -> str:
    return _VARIABLE + option.lstrip("-").replace("-", "_").upper()


def _in_command(words: list[str], options: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        option, equals, value = word.partition("=")
        if option in options:
            found[option] = value if equals else following
    return found
