"""From a URL to its source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hardtack.core.errors import ConfigError
from hardtack.core.typos import meant
from hardtack.source.options import SourceOptions

if TYPE_CHECKING:
    from hardtack.source.api import Source
    from hardtack.source.dialect import Dialect

_STORES = ("s3", "gs", "az")
_SCHEMES = (*_STORES, "file")
_FORMS = "Write s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///directory."


def within(url: str, path: Path) -> bool:
    """Whether `path` is, or lies in, the directory that the URL of a source names."""
    if not url.startswith("file://"):
        return False
    directory = os.path.realpath(unquote(urlsplit(url).path))
    parent, name = os.path.split(os.path.abspath(path))  # the last part may be a mount that hangs
    return Path(os.path.realpath(parent), name).is_relative_to(directory)


def is_store(url: str) -> bool:
    """Whether `url` names a bucket somewhere else."""
    return url.partition("://")[0] in _STORES


def check_kind(url: str) -> None:
    """That `url` begins as that of a source. Raises ConfigError, with what may have been meant."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme in _SCHEMES:
        return
    if separator:
        near = meant(scheme, _SCHEMES)
        remedy = near.replace("'?", f"://{rest}'?")
        what = f"There is no kind of source called {scheme!r}."
    else:
        scheme, colon, rest = url.partition(":")
        known = bool(colon) and scheme in _SCHEMES
        rest = f"/{rest.lstrip('/')}" if scheme == "file" else rest.lstrip("/")
        remedy = f"Did you mean '{scheme}://{rest}'?" if known and rest else ""
        what = f"{url!r} is not the URL of a source."
    raise ConfigError(what, remedy=f"{remedy} {_FORMS}".lstrip())


def dialect_of(url: str, options: SourceOptions) -> Dialect:
    """How the bucket that a store's URL names is spoken to; what others need isn't loaded.

    Raises ConfigError.
    """
    scheme, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if not bucket or any(c in bucket for c in "@:?#%"):
        raise ConfigError("The URL of the source names no bucket.", remedy=_FORMS)
    if scheme == "gs":
        from hardtack.source.google import GoogleDialect

        return GoogleDialect(bucket, options)
    if scheme == "az":
        from hardtack.source.azure import AzureDialect

        return AzureDialect(bucket, options)
    from hardtack.source.s3 import S3Dialect

    return S3Dialect(bucket, options)


def open_source(url: str, options: SourceOptions | None = None) -> Source:
    """The source that `url` names; nothing is asked of it yet. Raises ConfigError.

    `s3://bucket[/prefix]`, `gs://bucket[/prefix]`, `az://container[/prefix]`, `file:///directory`.
    A prefix is taken as it stands, not decoded.
    """
    options = options or SourceOptions()
    check_kind(url)
    if is_store(url):
        from hardtack.source.store import StoreSource

        prefix = url.partition("://")[2].partition("/")[2]
        return StoreSource(dialect_of(url, options), prefix, options)
    from hardtack.source.files import FileSource

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise ConfigError(f"{url!r} names no directory of this machine.", remedy=_FORMS)
    return FileSource(Path(unquote(parts.path)))
