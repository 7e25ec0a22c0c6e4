"""What stores answer, read and checked. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from hardtack.core.errors import CorruptReply, ObjectChanged
from hardtack.source.api import ObjectInfo


@dataclass(frozen=True)
class Page:
    """One page of a listing; keys are whole, `token` is None on the last page."""

    objects: list[ObjectInfo]
    prefixes: list[str]
    token: str | None


ANOTHER = (
    "Something on the way answered in the store's place: a network's sign-in page, a proxy, a"
    " firewall. Sign in or have the store's host let through; or the end point isn't that of a"
    " store: check --endpoint-url and --proxy."
)
"""The remedy where a web page came."""


def is_web_page(headers: Mapping[str, str]) -> bool:
    """Whether a reply calls itself one, as no store's error or listing does."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml")


def looks_like_web_page(body: bytes) -> bool:
    """Whether a body begins as one, whatever its type says."""
    head = body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return head.startswith((b"<!doctype html", b"<html"))


def parse_xml(body: bytes, what: str) -> ElementTree.Element:
    """The root of `body`; entities, hence document types, are refused. Raises CorruptReply."""
    if looks_like_web_page(body):
        raise CorruptReply(f"{what}: the reply is a web page, no listing.", remedy=ANOTHER)
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
    if info.etag and etag is None and is_web_page(headers):
        raise CorruptReply(f"{what}: the reply is a web page, not the object.", remedy=ANOTHER)
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
