"""Google Cloud Storage by its XML API, whose listings are S3's."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hardtack.core.errors import ConfigError
from hardtack.source.api import Checksum
from hardtack.source.dialect import OneHost, Parameters, Signer
from hardtack.source.google_account import ServiceAccount, Token
from hardtack.source.http import Host
from hardtack.source.options import SourceOptions, not_of_aws
from hardtack.source.s3_replies import list_query, parse_listing
from hardtack.source.sigv4 import encode_query
from hardtack.source.store_listing import Ask
from hardtack.source.store_replies import Page

_HOST = "https://storage.googleapis.com"
_PART = "[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_BUCKET = re.compile(rf"(?=.{{3,222}}$){_PART}(?:\.{_PART})*")


@dataclass(frozen=True)
class GoogleSigner:
    """A bearer token; without one nothing is added."""

    token: Token | None

    @property
    def who(self) -> str:
        return f"service account {self.token.account}" if self.token else ""

    @property
    def expires(self) -> None:
        return None

    def sign(
        self, method: str, path: str, query: Parameters, headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        bearer = {"Authorization": f"Bearer {self.token.text}"} if self.token else {}
        return encode_query(query), {**headers, **bearer}


class GoogleDialect(OneHost):
    """One bucket of Google Cloud Storage."""

    noun = "bucket"
    splits_listing = True
    checksum_headers: Mapping[str, str] = {}
    # else an object that is kept compressed is unpacked on its way, and its ranges are not served
    read_headers: Mapping[str, str] = {"Accept-Encoding": "gzip"}

    def __init__(
        self, bucket: str, options: SourceOptions, env: Mapping[str, str] | None = None
    ) -> None:
        """Raises ConfigError."""
        env = os.environ if env is None else env
        _check_bucket(bucket)
        host = Host.of(not_of_aws(options.endpoint_url, env) or _HOST)
        super().__init__(bucket, host, not_of_aws(options.ca_bundle, env))
        self.url = f"gs://{bucket}"
        self._account = None if options.unsigned else ServiceAccount(env)

    def signer(self) -> GoogleSigner:
        return GoogleSigner(self._account.token() if self._account else None)

    def reload(self, refused: Signer) -> bool:
        assert isinstance(refused, GoogleSigner)
        if self._account is None or refused.token is None:
            return False
        return self._account.replaced(refused.token)

    def page_query(self, ask: Ask) -> Parameters:
        return list_query(ask)

    def parse_page(self, body: bytes, what: str) -> Page:
        return parse_listing(body, what)

    def parse_checksum(self, headers: Mapping[str, str]) -> Checksum | None:
        """Of `x-goog-hash: crc32c=…,md5=…` the MD5, which a composed object lacks."""
        for part in headers.get("x-goog-hash", "").split(","):
            algorithm, _, value = part.strip().partition("=")
            if algorithm == "md5":
                return md5_of(value)
        return None


def _check_bucket(name: str) -> None:
    if not _BUCKET.fullmatch(name):
        raise ConfigError(
            f"{name!r} can't be the name of a bucket of Google's.",
            remedy="It has 3 to 63 small letters, digits, hyphens and underscores, with dots up to "
            "222; the first and the last are a letter or a digit.",
        )


def md5_of(text: str) -> Checksum | None:
    """An MD5 in base64; None where `text` is none."""
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return Checksum("md5", value) if len(value) == 16 else None
