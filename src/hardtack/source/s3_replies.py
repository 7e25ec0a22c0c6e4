"""S3's listings and checksums, asked and read. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_plus

from hardtack.core.errors import CorruptReply
from hardtack.source.api import Checksum, ObjectInfo
from hardtack.source.store_listing import Ask
from hardtack.source.store_replies import Page, parse_xml, plain_etag

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ALGORITHMS = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")


def list_query(ask: Ask) -> list[tuple[str, str]]:
    """What asks for a page by ListObjectsV2."""
    query = [("list-type", "2"), ("encoding-type", "url")]
    query += [("prefix", ask.prefix)] if ask.prefix else []
    query += [("delimiter", ask.delimiter)] if ask.delimiter else []
    query += [("continuation-token", ask.token)] if ask.token else []
    query += [("start-after", ask.after)] if ask.after and not ask.token else []
    return query


def parse_listing(body: bytes, what: str) -> Page:
    """A ListObjectsV2 result. Raises CorruptReply."""
    root = parse_xml(body, what)
    # stores give it with Amazon's namespace, their own, or none
    space, _, name = root.tag.rpartition("}")
    space = f"{space}}}" if space else ""
    if name != "ListBucketResult":
        raise CorruptReply(f"{what}: expected ListBucketResult, found {name}.")
    encoded = root.findtext(f"{space}EncodingType") == "url"
    tags = [f"{space}{tag}" for tag in ("Key", "Size", "ETag", "LastModified")]
    objects = []
    try:
        for element in root.iterfind(f"{space}Contents"):
            found = {child.tag: child.text or "" for child in element}
            key, size, etag, modified = (found[tag] for tag in tags)
            if encoded and ("%" in key or "+" in key):
                key = unquote_plus(key, errors="surrogateescape")
            when = datetime.fromisoformat(modified)
            mtime_ns = (when - _EPOCH) // _MICROSECOND * 1000
            if int(size) < 0 or not (etag.isascii() and etag.isprintable()):
                raise ValueError(f"size {size}, ETag {etag!r}")
            objects.append(ObjectInfo(key, int(size), plain_etag(etag), mtime_ns))
    except (KeyError, ValueError, TypeError) as error:
        raise CorruptReply(f"{what}: an entry of the listing is malformed: {error!r}.") from error
    prefixes = [
        element.findtext(f"{space}Prefix", "")
        for element in root.iterfind(f"{space}CommonPrefixes")
    ]
    if encoded:
        prefixes = [unquote_plus(prefix, errors="surrogateescape") for prefix in prefixes]
    token = None
    if root.findtext(f"{space}IsTruncated") == "true":
        token = root.findtext(f"{space}NextContinuationToken")
        if not token:
            raise CorruptReply(f"{what}: the listing goes on, but names no token to go on with.")
    return Page(objects, prefixes, token)


def parse_checksum(headers: Mapping[str, str]) -> Checksum | None:
    """The checksum of the whole object; one made of parts' checksums doesn't count."""
    if headers.get("x-amz-checksum-type") != "FULL_OBJECT":
        return None
    for algorithm in _ALGORITHMS:
        value = headers.get(f"x-amz-checksum-{algorithm}")
        if value:
            try:
                return Checksum(algorithm, base64.b64decode(value, validate=True))
            except binascii.Error:
                return None
    return None
