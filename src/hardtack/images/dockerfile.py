"""The preloader stage of Dockerfiles, written between markers from one lock.

A Dockerfile says where the stage goes and for which platform:

    # hardtack: preload platform=linux/arm64 from=hardtack
    # hardtack: preload begin
    # hardtack: preload end

`from` is the stage above, or the image, that has the command `hardtack` (default: `hardtack`). The
stage is called `preload`; its bundles are in /preload/images. It needs no BuildKit and nothing of
the build context: the lock of its platform stands in it.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hardtack.core.errors import ConfigError, ManifestError
from hardtack.core.files import write_atomically
from hardtack.images.lockfile import Lock, render_lock
from hardtack.images.platforms import Platform

_MARKER = re.compile(r"\s*#\s*hardtack:\s*preload\b(.*)$")
_BASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
_EXPECTED = (
    "Write `# hardtack: preload platform=linux/arm64`, then `# hardtack: preload begin` and "
    "`# hardtack: preload end` where the stage goes."
)


@dataclass(frozen=True)
class Stage:
    """Where a Dockerfile's stage stands: lines `begin` to `end` (from 0, the markers' own), its
    platform, and the image or stage it is built from."""

    begin: int
    end: int
    platform: Platform
    base: str


@dataclass(frozen=True)
class Difference:
    """A Dockerfile whose stage is not what the lock gives; `lines` differ (`-` there, `+` due)."""

    file: Path
    line: int
    lines: tuple[str, ...]


def find_stage(text: str, name: str) -> Stage:
    """The stage's place in a Dockerfile called `name`. Raises ManifestError, naming the line."""
    settings = {"from": "hardtack"}
    marks: dict[str, int] = {}
    for number, line in enumerate(text.split("\n")):
        marker = _MARKER.match(line)
        for word in marker[1].split() if marker else ():
            key, equals, value = word.partition("=")
            if word in ("begin", "end"):
                if word in marks:
                    raise _bad(name, number, f"a second `{word}` marker")
                marks[word] = number
            elif key in ("platform", "from") and equals and value:
                settings[key] = value
            else:
                raise _bad(name, number, f"{word!r} means nothing in a preload marker")
    for wanted in ("begin", "end"):
        if wanted not in marks:
            raise ManifestError(f"{name} has no `{wanted}` marker.", remedy=_EXPECTED)
    begin, end = marks["begin"], marks["end"]
    if end < begin:
        raise _bad(name, end, "the `end` marker stands before `begin`")
    if "platform" not in settings:
        raise _bad(name, begin, "no marker says the platform")
    if not _BASE.fullmatch(settings["from"]):
        raise _bad(name, begin, f"{settings['from']!r} is no image and no stage")
    try:
        platform = Platform.parse(settings["platform"])
    except ConfigError as error:
        raise _bad(name, begin, error.message) from error
    return Stage(begin, end, platform, settings["from"])


def render(lock: Lock, platform: Platform, base: str = "hardtack") -> str:
    """The stage, without markers; each line ends with a line break. Same lock, same text.

    Raises LockError when an image isn't locked for `platform`.
    """
    wanted = str(platform)
    images = tuple(
        image._replace(platforms={wanted: image.at(platform)}, found=()) for image in lock.images
    )
    entries = [
        f"#   {image.reference.familiar} {image.platforms[wanted].digest}" for image in images
    ]
    lock_lines = [
        f"    {shlex.quote(line)} \\"
        for line in render_lock(Lock((wanted,), images)).splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return "\n".join(
        (
            "# Made by `hardtack images dockerfile` from images.lock: change it there. Images:",
            *entries,
            f"FROM {base} AS preload",
            "RUN set -eu; mkdir -p /preload; \\",
            "    printf '%s\\n' \\",
            *lock_lines,
            "    > /preload/images.lock; \\",
            "    hardtack images pull --lock /preload/images.lock \\",
            f"    --platform {wanted} --out /preload/images",
            "",
        )
    )


def applied(text: str, name: str, lock: Lock) -> str:
    """The Dockerfile with its stage written anew; everything outside the markers stays.

    Raises ManifestError, LockError.
    """
    stage = find_stage(text, name)
    lines = text.split("\n")
    ending = "\r" if lines[stage.begin].endswith("\r") else ""
    made = [line + ending for line in render(lock, stage.platform, stage.base).splitlines()]
    return "\n".join([*lines[: stage.begin + 1], *made, *lines[stage.end :]])


def check(files: Iterable[Path], lock: Lock) -> tuple[Difference, ...]:
    """Each Dockerfile whose stage is not what `lock` gives. Raises ManifestError, LockError."""
    differences = []
    for file in files:
        text = _read(file)
        new = applied(text, str(file), lock)
        if new != text:
            old_lines, new_lines = text.splitlines(), new.splitlines()
            changed = tuple(
                line
                for line in difflib.unified_diff(old_lines, new_lines, lineterm="", n=0)
                if line[:1] in "+-" and not line.startswith(("+++ ", "--- "))
            )
            differences.append(Difference(file, find_stage(text, str(file)).begin + 1, changed))
    return tuple(differences)


def write(files: Iterable[Path], lock: Lock) -> tuple[Path, ...]:
    """Write each Dockerfile's stage; gives the files that changed. All are read and rendered
    before the first is written. Raises ManifestError, LockError."""
    changed = {}
    for file in files:
        text = _read(file)
        new = applied(text, str(file), lock)
        if new != text:
            changed[file] = new
    for file, new in changed.items():
        write_atomically(file, new.encode(), mode=file.stat().st_mode & 0o7777)
    return tuple(changed)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file} can't be read: {error}.") from error


def _bad(name: str, line: int, why: str) -> ManifestError:
    return ManifestError(f"{name}:{line + 1}: {why}.", remedy=_EXPECTED)
