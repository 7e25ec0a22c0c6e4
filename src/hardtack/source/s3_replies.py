"""What S3 answers, read and checked. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from hardtack.core.errors import CorruptReply, ObjectChanged
from hardtack.source.api import Checksum, ObjectInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ALGORITHMS = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")


@dataclass(frozen=True)
class Page:
    """One page of a listing; keys are whole, `token` is None on the last page."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    token: str | None


def parse_xml(body: bytes, what: str) -> ElementTree.Element:
    """The root of `body`; entities, hence document types, are refused. Raises CorruptReply."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise CorruptReply(f"{what}: the reply has a document type, which no listing has.")
    # a fixed encoding, so that the search above can't be evaded
    parser = ElementTree.XMLParser(encoding="utf-8")
    try:
        parser.feed(body)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise CorruptReply(f"{what}: the reply is not XML: {error}.") from error
    return root


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


@dataclass(frozen=True)
class Refusal:
    """The body of an error reply; empty where there is none."""

    code: str = ""
    message: str = ""
    region: str = ""


def parse_refusal(body: bytes) -> Refusal:
    """The error that `body` tells, in as far as it is one."""
    try:
        root = parse_xml(body, "error")
    except CorruptReply:
        return Refusal()
    found = {child.tag.rpartition("}")[2]: child.text or "" for child in root}
    return Refusal(found.get("Code", ""), found.get("Message", ""), found.get("Region", ""))


def plain_etag(text: str) -> str:
    """An ETag without its quotes and without a proxy's mark of weakness."""
    return text.removeprefix("W/").strip('"')


def check_range(
    status: int, headers: Mapping[str, str], info: ObjectInfo, start: int, stop: int, what: str
) -> None:
    """That a reply is bytes [start, stop) of `info`. Raises ObjectChanged, CorruptReply."""
    etag = headers.get("etag")
    if info.etag and etag is None:
        raise CorruptReply(f"{what}: expected ETag {info.etag}, the reply has none.")
    if info.etag and etag is not None and plain_etag(etag) != info.etag:
        raise ObjectChanged(
            f"{what} has ETag {plain_etag(etag)}, not {info.etag}: it was replaced."
        )
    if status == 206:
        _check_content_range(headers.get("content-range", ""), info, start, stop, what)
    elif status != 200 or (start, stop) != (0, info.size):
        raise CorruptReply(
            f"{what}: asked for bytes {start}-{stop - 1}, the reply has status {status}."
        )
    length = headers.get("content-length", "none")
    if length != str(stop - start):
        raise CorruptReply(f"{what}: expected a length of {stop - start}, found {length}.")


def _check_content_range(text: str, info: ObjectInfo, start: int, stop: int, what: str) -> None:
    match = re.fullmatch(r"bytes (\d{1,20})-(\d{1,20})/(\d{1,20}|\*)", text)
    right = match is not None and (int(match[1]), int(match[2]) + 1) == (start, stop)
    if match is None or not right or match[3] not in ("*", str(info.size)):
        raise CorruptReply(
            f"{what}: expected Content-Range bytes {start}-{stop - 1}/{info.size}, found {text!r}."
        )


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
