"""Where the cache of a source lies: as was said, as its mount has it, or at its default."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from hardtack.core.errors import ConfigError


def _user_cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        raise ConfigError(
            f"User {os.geteuid()} has no home directory to keep a cache in.",
            remedy="Name a directory with --cache, or set HOME.",
        ) from None


def cache_directory(explicit: Path | None, url: str) -> Path:
    """Where the cache of `url` lies."""
    if explicit is not None:
        return explicit.absolute()
    base = Path("/var/cache/hardtack") if os.geteuid() == 0 else _user_cache() / "hardtack"
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", url.split("://", 1)[1]).strip("-")[:40]
    return base / f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def mounts_caches(url: str | None) -> dict[Path, Path]:
    """Cache → mountpoint of the mounts of `url` (None: of any source) that answer."""
    from hardtack.mount import running

    points = [
        point
        for point, source in running.sources().items()
        if url is None or source.rstrip("/") == url
    ]
    return {cache: point for point in points if (cache := running.cache_of(point)) is not None}


def caches_of(explicit: Path | None, url: str | None, root: Path) -> tuple[Path, ...]:
    """The directories that the cache of `url` fills; without one those of all mounts, if the box
    whose file system is at `root` is the one that they are seen on."""
    if explicit is not None:
        return (explicit.absolute(),)
    if url is None and root != Path("/"):
        return ()
    return tuple(mounts_caches(url)) or ((cache_directory(None, url),) if url else ())
