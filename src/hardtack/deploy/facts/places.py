"""Directories and files that a service of systemd's names, and without which its start fails."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from hardtack.deploy.facts.links import gone, resolved, told

_ROOTS = ("RootDirectory", "RootImage")
_SHOWN = ("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths")
_BOUND = ("BindPaths", "BindReadOnlyPaths")
_CREDENTIALS = ("LoadCredential", "LoadCredentialEncrypted")
_INSTEAD = ("SetCredential", "SetCredentialEncrypted")
_OUTPUTS = ("StandardOutput", "StandardError")
_WRITTEN = ("file", "append", "truncate")
_MADE = {
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
    "ConfigurationDirectory": "/etc",
}
"""What systemd makes first, and in which directory."""
_OPTIONAL = "-"

Settings = Mapping[str, list[str]]
"""Key → the values of a unit, those before an empty one left out."""


def missing(root: Path, settings: Settings) -> Iterator[str]:
    """The settings, as they are written, whose directory or file isn't there. Raises OSError where
    it may not look."""
    yield from _credentials(root, settings)
    roots = {key: place for key in _ROOTS if (place := last(settings, key))}
    for key, place in roots.items():
        if gone(root, place):
            yield f"{key}={place}"
    if roots:
        return  # the rest is looked for in there
    made = _made(settings)
    for key, word in _named(settings):
        if not word.startswith(_OPTIONAL):
            place = word.removeprefix("+").partition(":")[0]
            if place not in made and gone(root, place):
                yield f"{key}={word}"
    for key, directory in _directories(settings):
        if directory not in made and _is_none(root, directory):
            yield f"{key}={last(settings, key)}"


def _credentials(root: Path, settings: Settings) -> Iterator[str]:
    instead = {value.partition(":")[0] for key in _INSTEAD for value in settings.get(key, [])}
    for key in _CREDENTIALS:
        for value in settings.get(key, []):
            name, _, file = value.partition(":")
            if name not in instead and gone(root, file):
                yield f"{key}={value}"


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    for key in (*_SHOWN, *_BOUND):
        for word in _words(settings, key):
            yield key, word


def _directories(settings: Settings) -> Iterator[tuple[str, str]]:
    """(key, directory that must be there), but what another mount of its own puts there."""
    own = {word.split(":")[1] for key in _BOUND for word in _words(settings, key) if ":" in word}
    own |= {word.partition(":")[0] for word in _words(settings, "TemporaryFileSystem")}
    working = PurePosixPath(last(settings, "WorkingDirectory"))
    if own.isdisjoint(map(str, (working, *working.parents))):
        yield "WorkingDirectory", str(working)
    for key in _OUTPUTS:
        how, _, file = last(settings, key).partition(":")
        if how in _WRITTEN:
            yield key, str(PurePosixPath(file).parent)


def _is_none(root: Path, directory: str) -> bool:
    if not told(directory):
        return False
    path = resolved(root, directory)
    return path is None or not path.is_dir()


def _made(settings: Settings) -> frozenset[str]:
    places = (
        PurePosixPath(top, word.partition(":")[0])
        for key, top in _MADE.items()
        for word in _words(settings, key)
    )
    return frozenset(str(each) for place in places for each in (place, *place.parents))


def _words(settings: Settings, key: str) -> list[str]:
    try:
        return [word for value in settings.get(key, []) for word in shlex.split(value)]
    except ValueError:
        return []  # systemd itself refuses it


def last(settings: Settings, key: str) -> str:
    """The value that holds; empty where there is none."""
    return (settings.get(key) or [""])[-1]
