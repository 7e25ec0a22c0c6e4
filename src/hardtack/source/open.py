"""From a URL to its source."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hardtack.core.errors import ConfigError
from hardtack.source.options import SourceOptions

if TYPE_CHECKING:
    from hardtack.source.api import Source
    from hardtack.source.dialect import Dialect

STORES = ("s3", "gs", "az")
"""The schemes of sources that are buckets somewhere else."""
_FORMS = "Write s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///directory."


def within(url: str, path: Path) -> bool:
    """Whether `path` is, or lies in, the directory that the URL of a source names."""
    if not url.startswith("file://"):
        return False
    directory = os.path.realpath(unquote(urlsplit(url).path))
    parent, name = os.path.split(os.path.abspath(path))  # the last part may be a mount that hangs
    return Path(os.path.realpath(parent), name).is_relative_to(directory)


def dialect_of(scheme: str, bucket: str, options: SourceOptions) -> Dialect:
    """How a bucket of one of `STORES` is spoken to; what others need isn't loaded. Raises
    ConfigError."""
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
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ConfigError(f"{url!r} is not the URL of a source.", remedy=_FORMS)
    if scheme in STORES:
        from hardtack.source.store import StoreSource

        bucket, _, prefix = rest.partition("/")
        if not bucket or any(c in bucket for c in "@:?#%"):
            raise ConfigError("The URL of the source names no bucket.", remedy=_FORMS)
        return StoreSource(dialect_of(scheme, bucket, options), prefix, options)
    if scheme == "file":
        from hardtack.source.files import FileSource

        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ConfigError(f"{url!r} names no directory of this machine.", remedy=_FORMS)
        return FileSource(Path(unquote(parts.path)))
    raise ConfigError(f"There is no kind of source called {scheme!r}.", remedy=_FORMS)
