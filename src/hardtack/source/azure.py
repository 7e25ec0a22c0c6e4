"""Azure Blob Storage: one container, how requests are signed, and its listings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from hardtack.core.errors import CorruptReply
from hardtack.source.api import Checksum, ObjectInfo
from hardtack.source.azure_account import Account, account_of, check_container, shared_key
from hardtack.source.dialect import OneHost, Parameters, Signer
from hardtack.source.google import md5_of
from hardtack.source.http import Host
from hardtack.source.options import SourceOptions, not_of_aws
from hardtack.source.sigv4 import encode_query
from hardtack.source.store_listing import Ask
from hardtack.source.store_replies import Page, parse_xml, plain_etag

_VERSION = "2021-12-02"


@dataclass(frozen=True)
class AzureSigner:
    """The account's key in a header, or its SAS token in the query; or nothing."""

    account: Account | None

    @property
    def who(self) -> str:
        found = self.account
        if found is None:
            return ""
        kind = "its key" if found.key else "a SAS token"
        return f"account {found.name or found.endpoint} with {kind} ({found.origin})"

    @property
    def expires(self) -> None:
        return None

    def sign(
        self, method: str, path: str, query: Parameters, headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        sent = {**headers, "x-ms-version": _VERSION, "x-ms-date": formatdate(usegmt=True)}
        text = encode_query(query)
        if self.account is None:
            return text, sent
        if self.account.key:
            sent["Authorization"] = shared_key(self.account, method, path, query, sent)
            return text, sent
        return "&".join(part for part in (text, self.account.sas) if part), sent


class AzureDialect(OneHost):
    """One container of Azure Blob Storage."""

    noun = "container"
    # the order isn't that of the bytes where the account has directories, and none starts inside
    splits_listing = False
    checksum_headers: Mapping[str, str] = {}
    read_headers: Mapping[str, str] = {}

    def __init__(
        self, container: str, options: SourceOptions, env: Mapping[str, str] | None = None
    ) -> None:
        """Raises ConfigError."""
        env = os.environ if env is None else env
        check_container(container)
        self._account = account_of(env, not_of_aws(options.endpoint_url, env))
        host = Host.of(self._account.endpoint)
        super().__init__(container, host, not_of_aws(options.ca_bundle, env))
        self.url = f"az://{container}"
        self._unsigned = options.unsigned

    def signer(self) -> AzureSigner:
        if self._unsigned:
            return AzureSigner(None)
        self._account.check()
        return AzureSigner(self._account)

    def reload(self, refused: Signer) -> bool:
        return False  # a process's environment stays as it is

    def page_query(self, ask: Ask) -> Parameters:
        query = [("restype", "container"), ("comp", "list")]
        query += [("prefix", ask.prefix)] if ask.prefix else []
        return query + ([("marker", ask.token)] if ask.token else [])

    def parse_page(self, body: bytes, what: str) -> Page:
        return parse_blobs(body, what)

    def parse_checksum(self, headers: Mapping[str, str]) -> Checksum | None:
        return md5_of(headers.get("content-md5", ""))


def parse_blobs(body: bytes, what: str) -> Page:
    """The reply to List Blobs; directories, which some accounts list, are left out.

    Raises CorruptReply.
    """
    root = parse_xml(body, what)
    if root.tag != "EnumerationResults":
        raise CorruptReply(f"{what}: expected EnumerationResults, found {root.tag}.")
    try:
        blobs = root.iterfind("Blobs/Blob")
        objects = [_info(b) for b in blobs if b.findtext("Properties/ResourceType") != "directory"]
    except (ValueError, TypeError) as error:
        raise CorruptReply(f"{what}: an entry of the listing is malformed: {error!r}.") from error
    return Page(objects, [], root.findtext("NextMarker") or None)


def _info(blob: Element) -> ObjectInfo:
    """Raises ValueError, TypeError."""
    name = blob.find("Name")
    key = "" if name is None else name.text or ""
    if name is not None and name.get("Encoded") == "true":
        key = unquote(key)
    size = int(_property(blob, "Content-Length"))
    etag = _property(blob, "Etag")
    when = parsedate_to_datetime(_property(blob, "Last-Modified"))
    if not key or size < 0 or not (etag.isascii() and etag.isprintable()):
        raise ValueError(f"key {key!r}, size {size}, ETag {etag!r}")
    return ObjectInfo(key, size, plain_etag(etag), int(when.timestamp()) * 10**9)


def _property(blob: Element, name: str) -> str:
    text = blob.findtext(f"Properties/{name}")
    if not text:
        raise ValueError(f"no {name}")
    return text
