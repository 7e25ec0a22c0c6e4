"""`images.lock` on disk: TOML, sorted, same content, same bytes (docs/formats/lock.md)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hardtack.core.errors import BadReference, ConfigError, LockError
from hardtack.core.files import write_atomically
from hardtack.images.platforms import Platform
from hardtack.manifests.reference import Reference

FORMAT = 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_AGAIN = "Write it anew: hardtack images lock PATH…"


class LockedPlatform(NamedTuple):
    """One image for one platform: its manifest's digest, and the bytes of its configuration and
    layers as the registry keeps them."""

    digest: str
    size: int


class LockedImage(NamedTuple):
    """One image: the digest that its name meant when it was locked (an index, or the manifest of an
    image for one platform only), and its manifest for each platform. `found`: who names it."""

    reference: Reference
    digest: str
    platforms: Mapping[str, LockedPlatform]
    found: tuple[str, ...] = ()

    def at(self, platform: Platform) -> LockedPlatform:
        """Raises LockError when the image isn't locked for `platform`."""
        try:
            return self.platforms[str(platform)]
        except KeyError:
            there = ", ".join(sorted(self.platforms)) or "no platform"
            raise LockError(
                f"images.lock has {self.reference} for {there}, not for {platform}.",
                remedy=f"Lock it with --platform {platform}.",
            ) from None


class Lock(NamedTuple):
    """Everything that a deployment needs, by digest. Images are sorted by name."""

    platforms: tuple[str, ...]
    images: tuple[LockedImage, ...]

    def image(self, reference: Reference) -> LockedImage | None:
        return next((i for i in self.images if i.reference == reference), None)


def names(image: LockedImage, platform: Platform, lock: Lock) -> tuple[str, ...]:
    """Every name by which containerd must know the image: with its tag, by the digest that was
    locked and by its manifest's digest. An image that is pinned by tag and digest leaves the tag
    to the one that is locked by tag alone."""
    reference = image.reference
    repository = reference.full_repository
    tags = set()
    if reference.digest is None:
        tags = {reference.name}
    elif reference.tag:
        plain = reference.with_digest(None)
        first = next(
            i for i in lock.images if i.reference.digest and i.reference.with_digest(None) == plain
        )
        if lock.image(plain) is None and first == image:
            tags = {plain.name}
    return tuple(
        sorted(tags | {f"{repository}@{image.digest}", f"{repository}@{image.at(platform).digest}"})
    )


def read_lock(path: Path) -> Lock:
    """The lock at `path`. Raises LockError, naming the line or the image."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LockError(
            f"{path} doesn't exist.", remedy="Write it: hardtack images lock PATH…"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LockError(f"{path} can't be read: {error}.") from error
    return parse_lock(text, str(path))


def parse_lock(text: str, name: str) -> Lock:
    """The lock in `text`, called `name` in errors. Raises LockError."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("<<<<<<<", ">>>>>>>", "=======")):
            raise LockError(
                f"{name}:{number}: a merge conflict was left in the file.",
                remedy="Take either side, then run `hardtack images lock`: it adds the rest.",
            )
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LockError(f"{name} is not TOML: {error}.", remedy=_AGAIN) from error
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise LockError(f"{name} has no usable `version`; expected {FORMAT}.", remedy=_AGAIN)
    if version > FORMAT:
        raise LockError(
            f"{name} has format {version}; this hardtack knows up to {FORMAT}.",
            remedy="Use a newer hardtack.",
        )
    unknown = document.keys() - {"version", "platforms", "image"}
    if unknown:
        raise LockError(
            f"{name} has a key that means nothing here: {sorted(unknown)[0]!r}.", remedy=_AGAIN
        )
    platforms = tuple(_platform(p, name) for p in _list(document, "platforms", name))
    images = [
        _image(entry, f"{name}: image {n}")
        for n, entry in enumerate(_list(document, "image", name), 1)
    ]
    seen: set[Reference] = set()
    for image in images:
        if image.reference in seen:
            raise LockError(
                f"{name} has {image.reference} twice.",
                remedy="Remove one of the two, or write the file anew: hardtack images lock PATH…",
            )
        seen.add(image.reference)
    return Lock(platforms, tuple(sorted(images, key=lambda i: i.reference.name)))


def write_lock(path: Path, lock: Lock) -> None:
    """Replace `path` by `lock`, whole or not at all."""
    write_atomically(path, render_lock(lock).encode())


def render_lock(lock: Lock) -> str:
    """The text of `lock`."""
    lines = [
        "# Written by `hardtack images lock`. Review it, commit it, don't edit it by hand.",
        f"version = {FORMAT}",
        f"platforms = {_strings(lock.platforms)}",
    ]
    for image in sorted(lock.images, key=lambda i: i.reference.name):
        lines += [
            "",
            "[[image]]",
            f"name = {_string(image.reference.name)}",
            f"digest = {_string(image.digest)}",
        ]
        lines += (
            ["found = [", *(f"  {_string(place)}," for place in sorted(image.found)), "]"]
            if image.found
            else []
        )
        lines.append("[image.platforms]")
        for platform, locked in sorted(image.platforms.items()):
            lines.append(
                f"{_string(platform)} = "
                f"{{ digest = {_string(locked.digest)}, size = {locked.size} }}"
            )
    return "\n".join(lines) + "\n"


def _image(entry: Any, where: str) -> LockedImage:
    if not isinstance(entry, dict):
        raise LockError(f"{where} is not a table.", remedy=_AGAIN)
    try:
        reference = Reference.parse(str(entry.get("name", "")))
    except BadReference as error:
        raise LockError(f"{where}: {error.message}", remedy=_AGAIN) from error
    where = f"{where} ({reference})"
    unknown = entry.keys() - {"name", "digest", "found", "platforms"}
    if unknown:
        raise LockError(
            f"{where} has a key that means nothing here: {sorted(unknown)[0]!r}.", remedy=_AGAIN
        )
    digest = _digest(entry.get("digest"), where)
    if reference.digest not in (None, digest):
        raise LockError(
            f"{where} is locked to {digest}, which is not the digest in its name.", remedy=_AGAIN
        )
    platforms = {}
    stated = entry.get("platforms")
    if not isinstance(stated, dict):
        raise LockError(f"{where} has no `platforms`.", remedy=_AGAIN)
    for name, value in stated.items():
        size = value.get("size") if isinstance(value, dict) else None
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise LockError(f"{where}: {name} has no usable `size`.", remedy=_AGAIN)
        platforms[_platform(name, where)] = LockedPlatform(
            _digest(value.get("digest"), f"{where}: {name}"), size
        )
    return LockedImage(
        reference, digest, platforms, tuple(str(f) for f in _list(entry, "found", where))
    )


def _digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise LockError(
            f"{where} has no usable `digest`: expected sha256: and 64 hexadecimal digits, "
            f"found {value!r}.",
            remedy=_AGAIN,
        )
    return value


def _platform(text: Any, where: str) -> str:
    try:
        return str(Platform.parse(str(text)))
    except ConfigError as error:
        raise LockError(f"{where}: {error.message}", remedy=_AGAIN) from error


def _list(table: dict[str, Any], key: str, where: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise LockError(f"{where}: `{key}` is not a list.", remedy=_AGAIN)
    return value


def _strings(values: tuple[str, ...]) -> str:
    return f"[{', '.join(_string(v) for v in values)}]"


def _string(text: str) -> str:
    """A TOML basic string."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", plain) + '"'
