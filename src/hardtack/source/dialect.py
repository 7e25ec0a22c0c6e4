"""What the stores have each of their own: S3, Google's and Azure's speak one HTTP, three ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hardtack.source.api import Checksum
from hardtack.source.http import Host
from hardtack.source.sigv4 import encode_path
from hardtack.source.store_listing import Ask
from hardtack.source.store_replies import Page, Refusal

Parameters = Sequence[tuple[str, str]]


class Signer(Protocol):
    """The credentials of one attempt."""

    @property
    def who(self) -> str:
        """Who asks, and where that is configured; never a secret. Empty: nobody, unsigned."""

    @property
    def expires(self) -> float | None:
        """When these credentials end, in seconds since 1970; None: they don't, or renew alone."""

    def sign(
        self, method: str, path: str, query: Parameters, headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """The query as it is sent, and all headers; `path` is encoded already."""


class OneHost:
    """What dialects have in common whose buckets all lie at one host, that sends nobody on."""

    def __init__(self, bucket: str, host: Host, ca_bundle: str | None) -> None:
        self.bucket = bucket
        self._host = host
        self._ca_bundle = ca_bundle

    def host(self) -> Host:
        return self._host

    def path(self, host: Host, key: str) -> str:
        return f"{host.base}/{self.bucket}" + (f"/{encode_path(key)}" if key else "")

    def ca_bundle(self) -> str | None:
        return self._ca_bundle

    def follow(
        self, used: Signer, status: int, headers: Mapping[str, str], refusal: Refusal
    ) -> str:
        return ""

    def redirected(self) -> str:
        return "Check the end point."


class Dialect(Protocol):
    """How one bucket is found, asked and listed. Thread-safe; asks nobody by itself."""

    bucket: str
    url: str
    """`s3://bucket`: the bucket's name in messages."""
    noun: str
    """What such a store calls a bucket."""
    splits_listing: bool
    """Whether keys are listed in the order of their bytes, and from any key on."""
    checksum_headers: Mapping[str, str]
    """What a HEAD must ask for the object's checksum."""
    read_headers: Mapping[str, str]
    """What a GET must ask for the stored bytes as they are."""

    def host(self) -> Host:
        """Whom to ask for the bucket. Raises ConfigError."""

    def path(self, host: Host, key: str) -> str:
        """The encoded path of `key`, or of the bucket itself when that is empty."""

    def ca_bundle(self) -> str | None:
        """The authorities to trust; None: the system's."""

    def signer(self) -> Signer:
        """The credentials as they are now. Raises AccessDenied where there are none."""

    def reload(self, refused: Signer) -> bool:
        """After a 403: whether there are other credentials by now. Raises AccessDenied."""

    def follow(
        self, used: Signer, status: int, headers: Mapping[str, str], refusal: Refusal
    ) -> str:
        """A warning, where the reply says that the bucket lies elsewhere and we follow; or none."""

    def redirected(self) -> str:
        """What to set where a redirect couldn't be followed."""

    def page_query(self, ask: Ask) -> Parameters:
        """What asks for this page."""

    def parse_page(self, body: bytes, what: str) -> Page:
        """Raises CorruptReply."""

    def parse_checksum(self, headers: Mapping[str, str]) -> Checksum | None:
        """The checksum of the whole object in the reply to a HEAD."""
