"""What the rules need of `images.lock`: each image's name, its platforms, and its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hardtack.core.errors import BadReference, LockError
from hardtack.manifests.place import Place
from hardtack.manifests.reference import Reference

FORMAT = 1
_NAME = re.compile(r"""\s*name\s*=\s*["']([^"']+)["']""")


@dataclass(frozen=True)
class Locked:
    """The lock's file, its own platforms, and for each image its platforms and its place."""

    file: Path
    platforms: tuple[str, ...]
    images: Mapping[Reference, tuple[str, ...]]
    places: Mapping[Reference, Place]


def read_locked(path: Path) -> Locked:
    """The lock at `path`. Raises LockError."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise LockError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise LockError(
            f"{path} is damaged: {error}.", remedy="Write it anew: hardtack images lock PATH…"
        ) from error
    if table.get("version") != FORMAT:
        raise LockError(
            f"{path} has format {table.get('version')!r}; this hardtack knows {FORMAT}.",
            remedy="Use a newer hardtack.",
        )
    images: dict[Reference, tuple[str, ...]] = {}
    try:
        for entry in table.get("image", []):
            images[Reference.parse(entry["name"])] = tuple(sorted(entry["platforms"]))
        platforms = tuple(str(platform) for platform in table.get("platforms", []))
    except (BadReference, KeyError, TypeError, AttributeError) as error:
        raise LockError(
            f"{path} is damaged: an image has no usable name or platforms ({error}).",
            remedy="Write it anew: hardtack images lock PATH…",
        ) from error
    return Locked(path, platforms, images, _places(text, path, images))


def _places(
    text: str, path: Path, images: Mapping[Reference, tuple[str, ...]]
) -> dict[Reference, Place]:
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if found := _NAME.match(line):
            lines.setdefault(found[1], number)
    return {image: Place(path, lines.get(image.name, 1)) for image in images}
