"""The cache that a command works on: the one of a running mount, over its socket, or our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from hardtack.cache import owner
from hardtack.cache.cache import Cache
from hardtack.cli.caches import cache_directory, mounts_caches
from hardtack.cli.options import cache_options, source_options, source_url
from hardtack.core.errors import CacheError, ConfigError
from hardtack.mount.control import RemoteCache, connect
from hardtack.source.open import open_source, within


@contextmanager
def opened(
    source: str | None, values: dict[str, Any], purpose: str, *, listed: bool = False
) -> Iterator[Cache | RemoteCache]:
    """The cache of `source` by a command's parameters.

    Raises ConfigError when the mount that owns the directory serves another source; with `listed`
    CacheError when nothing is known of `source` in the directory, and then creates nothing.
    """
    url = source_url(source, values["prefix"])
    directory = values["cache_directory"] or _mounts_cache(url)
    directory = cache_directory(directory, url)
    remote = connect(directory)
    if remote is not None:
        served = remote.status().source
        if served != url:
            raise ConfigError(
                f"The cache {directory} is in use by a mount of {served}, not of {url}.",
                remedy="Give another directory with --cache.",
            )
        if listed:
            _demand_known(remote, url, directory)
        yield remote
        return
    if listed and not Cache.exists(directory, url):
        raise _unknown(url, directory)
    with own(url, directory, values, purpose) as cache:
        if listed:
            _demand_known(cache, url, directory)
        yield cache


def _mounts_cache(url: str) -> Path | None:
    """The cache of the mount that shows `url`, which is told if it isn't the default one.

    Raises ConfigError where several mounts of it have caches of their own.
    """
    caches = mounts_caches(url)
    if not caches or cache_directory(None, url) in caches:
        return None
    if len(caches) > 1:
        known = ", ".join(f"{cache} (of {point})" for cache, point in caches.items())
        raise ConfigError(
            f"{url} is mounted with several caches: {known}.", remedy="Name one with --cache."
        )
    cache, point = caches.popitem()
    click.echo(f"hardtack: the cache is {cache}, that of the mount at {point}.", err=True)
    return cache


def _demand_known(cache: Cache | RemoteCache, url: str, directory: Path) -> None:
    """Raise CacheError unless there is a listing, or at least something cached."""
    if not cache.has_listing() and not cache.usage().files:
        raise _unknown(url, directory)


def _unknown(url: str, directory: Path) -> CacheError:
    return CacheError(
        f"Nothing is known of {url} in the cache directory {directory}.",
        remedy="Check the spelling of SOURCE, and that --cache is the directory that its mount or"
        " `hardtack prefetch` uses; one of these lists it first.",
    )


@contextmanager
def own(url: str, directory: Path, values: dict[str, Any], purpose: str) -> Iterator[Cache]:
    """The cache in `directory`, opened by this process; a failure leaves no new one behind."""
    if within(url, directory):
        raise ConfigError(
            f"The cache {directory} lies inside its own source, {url}.",
            remedy="Name a directory outside of it with --cache.",
        )
    new = not directory.exists()
    source = open_source(url, source_options(values))
    try:
        cache = Cache.open(directory, source, cache_options(values), purpose=purpose)
    except BaseException:
        source.close()
        if new and directory.exists():
            owner.discard(directory)
        raise
    try:
        yield cache
    finally:
        empty = new and not cache.has_listing()
        source.close()  # first: what waits for the network would hold up the cache's end
        cache.close()
        if empty:
            owner.discard(directory)
