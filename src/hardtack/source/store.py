"""A bucket of an object store as a source; what store it is says its dialect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hardtack.core.errors import CorruptReply, NotFound, ObjectChanged
from hardtack.source.api import Checksum, ObjectInfo
from hardtack.source.dialect import Dialect
from hardtack.source.options import SourceOptions
from hardtack.source.store_client import StoreClient
from hardtack.source.store_listing import Ask, list_pages
from hardtack.source.store_replies import Page, plain_etag
from hardtack.source.store_stream import StoreStream

_LISTING_LIMIT = 16 << 20


class StoreSource:
    """The keys under `prefix/` of a bucket, named relative to it."""

    def __init__(self, dialect: Dialect, prefix: str, options: SourceOptions) -> None:
        self._prefix = prefix.strip("/")
        self._base = f"{self._prefix}/" if self._prefix else ""
        self._dialect = dialect
        self._client = StoreClient(dialect, options)
        self._parallel = options.connections

    @property
    def url(self) -> str:
        return f"{self._dialect.url}/{self._prefix}".rstrip("/")

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        anything = not self._base
        cut = len(self._base)
        split = self._dialect.splits_listing
        for objects in list_pages(self._page, self._base, parallel=self._parallel, split=split):
            anything = True
            below = objects
            if cut:
                below = [
                    ObjectInfo(o.key[cut:], o.size, o.etag, o.mtime_ns)
                    for o in objects
                    if len(o.key) > cut
                ]
            if below:
                yield below
        if not anything:
            raise NotFound(
                f"There is nothing under {self._base} in {self._dialect.url}.",
                remedy="Check the prefix.",
            )

    def stream(self, info: ObjectInfo, start: int, stop: int) -> StoreStream:
        key = self._base + info.key
        return StoreStream(self._client, key, info, start, stop, self._name(key))

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        key = self._base + info.key
        name = self._name(key)
        headers = dict(self._dialect.checksum_headers)
        if info.etag:
            headers["If-Match"] = f'"{info.etag}"'
        try:
            reply = self._client.request("HEAD", key, name, headers=headers)
        except NotFound as error:
            raise ObjectChanged(f"{name} is gone.") from error
        reply.release()
        etag = plain_etag(reply.headers.get("etag", info.etag))
        if info.etag and etag != info.etag:
            raise ObjectChanged(f"{name} has ETag {etag}, not {info.etag}: it was replaced.")
        return self._dialect.parse_checksum(reply.headers)

    def close(self) -> None:
        self._client.close()

    def _name(self, key: str) -> str:
        return f"{self._dialect.url}/{key}"

    def _page(self, ask: Ask) -> Page:
        what = f"listing of {self._name(ask.prefix)}"
        query = self._dialect.page_query(ask)
        body = self._client.fetch("", what, query=query, limit=_LISTING_LIMIT)
        page = self._dialect.parse_page(body, what)
        stray = next((o.key for o in page.objects if not o.key.startswith(ask.prefix)), None)
        if stray is not None:
            raise CorruptReply(f"{what}: the reply holds {stray!r}, which isn't under it.")
        return replace(page, prefixes=[p for p in page.prefixes if p.startswith(ask.prefix)])
