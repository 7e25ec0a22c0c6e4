"""S3, and whatever speaks it: where a bucket lies, how requests are signed and listed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from hardtack.core.errors import ConfigError
from hardtack.core.hosts import ascii_name
from hardtack.source import aws_config
from hardtack.source.api import Checksum
from hardtack.source.credentials import CredentialChain
from hardtack.source.dialect import Parameters, Signer
from hardtack.source.http import Host
from hardtack.source.options import SourceOptions
from hardtack.source.s3_replies import list_query, parse_checksum, parse_listing
from hardtack.source.sigv4 import Credentials, encode_path, encode_query, signed_headers
from hardtack.source.store_listing import Ask
from hardtack.source.store_replies import Page, Refusal


@dataclass(frozen=True)
class S3Signer:
    """Signature Version 4 for one region; without credentials nothing is added."""

    credentials: Credentials | None
    region: str

    @property
    def who(self) -> str:
        found = self.credentials
        return f"access key id {found.access_key} ({found.origin})" if found else ""

    @property
    def expires(self) -> float | None:
        return self.credentials.expires if self.credentials else None

    def sign(
        self, method: str, path: str, query: Parameters, headers: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        text = encode_query(query)
        if self.credentials is None:
            return text, dict(headers)
        now = datetime.now(tz=UTC)
        return text, signed_headers(
            method, path, text, headers, self.credentials, region=self.region, now=now
        )


class S3Dialect:
    """One bucket of S3."""

    noun = "bucket"
    splits_listing = True
    checksum_headers: Mapping[str, str] = {"x-amz-checksum-mode": "ENABLED"}
    read_headers: Mapping[str, str] = {}

    def __init__(
        self, bucket: str, options: SourceOptions, env: Mapping[str, str] | None = None
    ) -> None:
        self.bucket, self.url = bucket, f"s3://{bucket}"
        self._options = options
        self._env = os.environ if env is None else env
        files = aws_config.Files.of(self._env)
        name = aws_config.profile_name(options.profile, self._env)
        self._profile = aws_config.read_profile(files, name)
        self._region = aws_config.region(options.region, self._env, self._profile)
        self._endpoint = aws_config.endpoint_url(options.endpoint_url, self._env, self._profile)
        if self._endpoint is not None:
            Host.of(self._endpoint)  # a wrong one is told at once
        self._path_style = self._choose_path_style()
        self._check_bucket()
        self._chain = CredentialChain(options, self._env)

    def host(self) -> Host:
        if self._endpoint is None:
            suffix = ".cn" if self._region.startswith("cn-") else ""
            name = f"s3.{self._region}.amazonaws.com{suffix}"
            host = Host("https", name, 443)
        else:
            host = Host.of(self._endpoint)
        if self._path_style:
            return host
        return Host(host.scheme, f"{self.bucket}.{host.name}", host.port, host.base)

    def path(self, host: Host, key: str) -> str:
        path = f"{host.base}/{self.bucket}" if self._path_style else host.base
        return path + (f"/{encode_path(key)}" if key or not self._path_style else "")

    def ca_bundle(self) -> str | None:
        return aws_config.ca_bundle(self._options.ca_bundle, self._env, self._profile)

    def signer(self) -> S3Signer:
        return S3Signer(self._chain.get(), self._region)

    def reload(self, refused: Signer) -> bool:
        assert isinstance(refused, S3Signer)
        return refused.credentials is not None and self._chain.replace(refused.credentials)

    def follow(
        self, used: Signer, status: int, headers: Mapping[str, str], refusal: Refusal
    ) -> str:
        assert isinstance(used, S3Signer)
        if status not in (301, 307, 400, 403):
            return ""
        region = headers.get("x-amz-bucket-region") or refusal.region
        if not region or region == used.region:
            return ""
        self._region = region
        return f"{self.url} lies in region {region}, not {used.region}: set it to spare a request"

    def redirected(self) -> str:
        return f"Set the bucket's region or end point; now it is region {self._region}."

    def page_query(self, ask: Ask) -> Parameters:
        return list_query(ask)

    def parse_page(self, body: bytes, what: str) -> Page:
        return parse_listing(body, what)

    def parse_checksum(self, headers: Mapping[str, str]) -> Checksum | None:
        return parse_checksum(headers)

    def _check_bucket(self) -> None:
        """That it can be part of a path, or of a host's name. Raises ConfigError."""
        if self._path_style:
            if not re.fullmatch(r"[\w.-]+", self.bucket, re.ASCII):
                raise ConfigError(
                    f"{self.bucket!r} can't be the name of a bucket.",
                    remedy="It has letters, digits, hyphens, dots and underscores.",
                )
            return
        try:
            fits = ascii_name(f"{self.bucket}.s3") == f"{self.bucket}.s3"
        except ValueError:
            fits = False
        if not fits:
            raise ConfigError(
                f"{self.bucket!r} can't be the name of a bucket.",
                remedy="It has letters, digits, hyphens and dots. Or write --path-style.",
            )

    def _choose_path_style(self) -> bool:
        if self._options.path_style is not None:
            return self._options.path_style
        style = self._profile.nested("s3", "addressing_style")
        if style in ("path", "virtual"):
            return style == "path"
        # a dot in the bucket's name doesn't match the wildcard of Amazon's certificate
        return self._endpoint is not None or "." in self.bucket
