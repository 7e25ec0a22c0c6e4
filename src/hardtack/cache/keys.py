"""Which keys can be names in a tree, and what they become. Pure."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass

from hardtack.cache.api import Entry, Kind
from hardtack.cache.chunkmap import Identity
from hardtack.source.api import ObjectInfo

LINK_SUFFIX = ".rclonelink"
MAX_TARGET = 4095


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands in the tree: `parent` is a path without slashes at its ends."""

    parent: str
    name: str
    kind: Kind


def place(key: str) -> Place | str:
    """The place of `key`, or the reason why it can't have one.

    A key that ends in `/` is a directory; one that ends in `.rclonelink` a symbolic link.
    """
    kind, path = Kind.FILE, key
    if key.endswith("/"):
        kind, path = Kind.DIRECTORY, key[:-1]
    elif key.endswith(LINK_SUFFIX):
        kind, path = Kind.LINK, key[: -len(LINK_SUFFIX)]
    if "\0" in path:
        return "it holds a NUL"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    for part in path.split("/"):
        if not part:
            return "it has an empty name between slashes"
        if part in {".", ".."}:
            return f"it holds the name {part!r}"
        if len(part.encode()) > 255:
            return "a name in it is longer than 255 bytes"
    parent, _, name = path.rpartition("/")
    return Place(parent, name, kind)


def bad_target(parent: str, target: str) -> str:
    """Why a link in the directory `parent` may not point at `target`; "" when it may."""
    if not target or "\0" in target or len(target.encode()) > MAX_TARGET:
        return "its target is not a path"
    if target.startswith("/"):
        return f"its target {target!r} is absolute"
    resolved = posixpath.normpath(posixpath.join(parent or ".", target))
    if resolved == ".." or resolved.startswith("../"):
        return f"its target {target!r} leaves the mount"
    return ""


def content_id(source: str, info: ObjectInfo) -> str:
    """32 hex digits that locate an object's bytes in the cache.

    Objects of equal single-part ETag and size share one; others are told apart by source and key.
    """
    if info.md5 is not None:
        identity = f"md5\0{info.md5}\0{info.size}"
    else:
        identity = f"{source}\0{info.key}\0{info.etag}\0{info.size}"
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def info_of(entry: Entry) -> ObjectInfo:
    """The object that a file is."""
    return ObjectInfo(entry.key, entry.size, entry.etag, entry.mtime_ns)


def identity_of(source: str, entry: Entry) -> tuple[str, Identity]:
    """The content id and the identity of a file of the source `source`."""
    identity = Identity(source, entry.key, entry.etag, entry.size)
    return content_id(source, info_of(entry)), identity
