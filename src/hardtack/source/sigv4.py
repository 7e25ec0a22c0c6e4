"""AWS Signature Version 4 in request headers. Pure: the clock is given."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Credentials:
    """Keys and where they came from. `expires` in seconds since 1970, None: never.

    Only `access_key` and `origin` may be shown.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires: float | None = None
    origin: str = ""


def encode_path(key: str) -> str:
    """`key` as the path of a URL: all but unreserved characters and `/` percent-encoded."""
    return quote(key.encode("utf-8", "surrogateescape"), safe="/~")


def encode_query(parameters: Iterable[tuple[str, str]]) -> str:
    """Parameters in the canonical form and order, which is sent as it was signed."""
    return "&".join(
        sorted(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in parameters)
    )


def signed_headers(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    credentials: Credentials,
    *,
    region: str,
    now: datetime,
    service: str = "s3",
    payload_sha256: str = EMPTY_SHA256,
) -> dict[str, str]:
    """`headers` with those that sign them all; `path` and `query` encoded, `now` in UTC."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    result = {**headers, "x-amz-date": stamp}
    if service == "s3":
        result["x-amz-content-sha256"] = payload_sha256
    if credentials.token:
        result["x-amz-security-token"] = credentials.token
    canonical = sorted((name.lower(), " ".join(value.split())) for name, value in result.items())
    names = ";".join(name for name, _ in canonical)
    lines = "".join(f"{name}:{value}\n" for name, value in canonical)
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload_sha256}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    key = _signing_key(credentials.secret_key, stamp[:8], region, service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    result["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return result


@lru_cache(maxsize=8)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
