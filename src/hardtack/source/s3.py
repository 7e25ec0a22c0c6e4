"""S3, and whatever speaks it, as a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hardtack.core.errors import CorruptReply, NotFound, ObjectChanged
from hardtack.source.api import Checksum, ObjectInfo
from hardtack.source.options import SourceOptions
from hardtack.source.s3_client import S3Client
from hardtack.source.s3_listing import Ask, list_pages
from hardtack.source.s3_replies import Page, parse_checksum, parse_listing, plain_etag
from hardtack.source.s3_stream import S3Stream

_LISTING_LIMIT = 16 << 20


class S3Source:
    """The keys under `prefix/` of `bucket`, named relative to it."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        options: SourceOptions,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._prefix = prefix.strip("/")
        self._base = f"{self._prefix}/" if self._prefix else ""
        self._bucket = bucket
        self._client = S3Client(bucket, options, env)
        self._parallel = options.connections

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        anything = not self._base
        cut = len(self._base)
        for objects in list_pages(self._page, self._base, parallel=self._parallel):
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
                f"There is nothing under {self._base} in s3://{self._bucket}.",
                remedy="Check the prefix.",
            )

    def stream(self, info: ObjectInfo, start: int, stop: int) -> S3Stream:
        key = self._base + info.key
        return S3Stream(self._client, key, info, start, stop, self._name(key))

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        key = self._base + info.key
        name = self._name(key)
        headers = {"x-amz-checksum-mode": "ENABLED"}
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
        return parse_checksum(reply.headers)

    def close(self) -> None:
        self._client.close()

    def _name(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _page(self, ask: Ask) -> Page:
        query = [("list-type", "2"), ("encoding-type", "url")]
        query += [("prefix", ask.prefix)] if ask.prefix else []
        query += [("delimiter", ask.delimiter)] if ask.delimiter else []
        query += [("continuation-token", ask.token)] if ask.token else []
        query += [("start-after", ask.after)] if ask.after and not ask.token else []
        what = f"listing of {self._name(ask.prefix)}"
        page = parse_listing(self._client.fetch("", what, query=query, limit=_LISTING_LIMIT), what)
        stray = next((o.key for o in page.objects if not o.key.startswith(ask.prefix)), None)
        if stray is not None:
            raise CorruptReply(f"{what}: the reply holds {stray!r}, which isn't under it.")
        return replace(page, prefixes=[p for p in page.prefixes if p.startswith(ask.prefix)])
