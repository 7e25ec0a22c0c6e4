"""Requests to one S3 bucket: signed, repeated while that can help, refusals made errors."""

from __future__ import annotations

import http.client
import logging
import os
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from hardtack.core.errors import (
    AccessDenied,
    CorruptReply,
    NotFound,
    ObjectChanged,
    SourceError,
    SourceUnreachable,
    in_words,
)
from hardtack.source import aws_config
from hardtack.source.credentials import CredentialChain
from hardtack.source.http import BROKEN, Host, Pool, Reply, proxy_for, tls_context
from hardtack.source.options import SourceOptions
from hardtack.source.patience import Patience, RateWatch
from hardtack.source.s3_replies import Refusal, parse_refusal
from hardtack.source.sigv4 import Credentials, encode_path, encode_query, signed_headers

_BUSY = {408, 425, 429, 500, 502, 503, 504, 509}
_BUSY_CODES = {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable"}
_STALE_CODES = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
_REFUSAL_LIMIT = 64 << 10
_WINDOWS = 4

log = logging.getLogger(__name__)


class S3Client:
    """Thread-safe; connects at the first request."""

    def __init__(
        self, bucket: str, options: SourceOptions, env: Mapping[str, str] | None = None
    ) -> None:
        self.bucket, self.options = bucket, options
        self._env = os.environ if env is None else env
        files = aws_config.Files.of(self._env)
        name = aws_config.profile_name(options.profile, self._env)
        self._profile = aws_config.read_profile(files, name)
        self.region = aws_config.region(options.region, self._env, self._profile)
        self._endpoint = aws_config.endpoint_url(options.endpoint_url, self._env, self._profile)
        self._path_style = self._choose_path_style()
        self._chain = CredentialChain(options, self._env)
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._closed = False

    def request(
        self,
        method: str,
        key: str,
        what: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        patience: Patience | None = None,
    ) -> Reply:
        """A reply of status 2xx. `key` is empty for the bucket; `what` names it in messages.

        Raises NotFound (no such bucket or key), ObjectChanged (412, 416), AccessDenied,
        SourceUnreachable, SourceError.
        """
        patience = patience or Patience(self.options)
        reloaded = moved = False
        while True:
            region = self.region
            credentials = self._chain.get()
            try:
                reply = self._send(method, key, query, headers or {}, credentials, region)
                if 200 <= reply.status < 300:
                    return reply
                refusal = self._refusal(method, reply)
            except BROKEN as error:
                self._again(patience, what, error)
                continue
            if reply.status in _BUSY or refusal.code in _BUSY_CODES:
                self._again(patience, what, None, f"{reply.status} {refusal.code}".strip())
                continue
            if not moved and self._follow_region(reply, refusal, region):
                moved = True
                continue
            denied = reply.status in (401, 403) or refusal.code in _STALE_CODES
            if denied and credentials and not reloaded and self._chain.replace(credentials):
                reloaded = True
                continue
            raise self._refused(reply.status, refusal, what, credentials)

    def fetch(self, key: str, what: str, *, query: Sequence[tuple[str, str]], limit: int) -> bytes:
        """The whole body of a GET, at most `limit` bytes. Raises CorruptReply and as `request`."""
        patience = Patience(self.options)
        while True:
            reply = self.request("GET", key, what, query=query, patience=patience)
            try:
                body = reply.read(limit, self.new_watch().sample)
            except BROKEN as error:
                self._again(patience, what, error)
                continue
            if len(body) > limit:
                raise CorruptReply(f"{what}: the reply is larger than {limit >> 20} MiB.")
            return body

    def new_watch(self) -> RateWatch:
        """A watch over one body."""
        options = self.options
        return RateWatch(options.minimum_rate, _WINDOWS * options.progress_deadline)

    def unreachable(self, what: str, error: BaseException | None, status: str = "") -> SourceError:
        """The error after the last attempt."""
        if self._closed:
            return SourceUnreachable(f"{what}: the source was closed.")
        host = self._host()
        reason = explain(error) if error else f"it answers {status}"
        tls = isinstance(error, ssl.SSLCertVerificationError)
        return SourceUnreachable(
            f"{what}: {host.url} can't be used: {reason}.",
            remedy="Give the right CA bundle, or check the end point's certificate."
            if tls
            else "Check the network and the end point.",
        )

    def warn(self, message: str) -> None:
        """One warning line; says that TLS isn't verified where that is so."""
        suffix = " (insecure: TLS certificates are not verified)" if self.options.insecure else ""
        log.warning("%s%s", message, suffix)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            pool = self._pool
        if pool is not None:
            pool.close()

    def _again(
        self, patience: Patience, what: str, error: BaseException | None, status: str = ""
    ) -> None:
        """Wait for the next attempt, or raise."""
        hopeless = isinstance(error, ssl.SSLCertVerificationError)
        if self._closed or hopeless or not patience.again():
            raise self.unreachable(what, error, status) from error
        log.debug("%s: trying again after %s", what, explain(error) if error else status)

    def _send(
        self,
        method: str,
        key: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        credentials: Credentials | None,
        region: str,
    ) -> Reply:
        pool = self._connections()
        path = f"{pool.host.base}/{self.bucket}" if self._path_style else pool.host.base
        path += f"/{encode_path(key)}" if key or not self._path_style else ""
        text = encode_query(query)
        sent = {**headers, "Host": pool.host.header}
        if credentials is not None:
            now = datetime.now(tz=UTC)
            sent = signed_headers(method, path, text, sent, credentials, region=region, now=now)
        return pool.request(method, f"{path}?{text}" if text else path, sent)

    def _refusal(self, method: str, reply: Reply) -> Refusal:
        if method == "HEAD":
            reply.release()
            return Refusal()
        return parse_refusal(reply.read(_REFUSAL_LIMIT, self.new_watch().sample))

    def _connections(self) -> Pool:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the source was closed")
            host = self._host()
            if self._pool is None or self._pool.host != host:
                self._pool = self._new_pool(host)
            return self._pool

    def _new_pool(self, host: Host) -> Pool:
        options = self.options
        tls = None
        if host.scheme == "https":
            bundle = aws_config.ca_bundle(options.ca_bundle, self._env, self._profile)
            tls = tls_context(bundle, insecure=options.insecure)
            if options.insecure:
                self.warn(f"s3://{self.bucket} is reached at {host.url}")
        return Pool(
            host,
            size=options.connections,
            timeout=options.progress_deadline,
            proxy=proxy_for(host, options.proxy),
            tls=tls,
        )

    def _host(self) -> Host:
        if self._endpoint is None:
            suffix = ".cn" if self.region.startswith("cn-") else ""
            name = f"s3.{self.region}.amazonaws.com{suffix}"
            host = Host("https", name, 443)
        else:
            host = Host.of(self._endpoint)
        if self._path_style:
            return host
        return Host(host.scheme, f"{self.bucket}.{host.name}", host.port, host.base)

    def _choose_path_style(self) -> bool:
        if self.options.path_style is not None:
            return self.options.path_style
        style = self._profile.nested("s3", "addressing_style")
        if style in ("path", "virtual"):
            return style == "path"
        # a dot in the bucket's name doesn't match the wildcard of Amazon's certificate
        return self._endpoint is not None or "." in self.bucket

    def _follow_region(self, reply: Reply, refusal: Refusal, used: str) -> bool:
        """Whether the reply tells another region than the one `used`; it counts from now on."""
        if reply.status not in (301, 307, 400, 403):
            return False
        region = reply.headers.get("x-amz-bucket-region") or refusal.region
        if not region or region == used:
            return False
        self.warn(
            f"s3://{self.bucket} lies in region {region}, not {used}: set it to spare a request"
        )
        self.region = region
        return True

    def _refused(
        self, status: int, refusal: Refusal, what: str, credentials: Credentials | None
    ) -> SourceError:
        said = f"{status} {refusal.code}".strip()
        if status in (401, 403) or refusal.code in _STALE_CODES:
            return self._denied(said, refusal, what, credentials)
        if status == 404 and refusal.code == "NoSuchBucket":
            return NotFound(f"There is no bucket {self.bucket} at {self._host().url}.")
        if status == 404:
            return NotFound(f"{what} does not exist.")
        if status in (412, 416):
            return ObjectChanged(f"{what} was replaced ({said}).")
        if status in (301, 307, 308):
            return SourceError(
                f"{what}: {self._host().url} redirects elsewhere ({said}); region {self.region}.",
                remedy="Set the bucket's region or end point.",
            )
        return SourceError(f"{what}: {self._host().url} answers {said}. {refusal.message}".rstrip())

    def _denied(
        self, said: str, refusal: Refusal, what: str, credentials: Credentials | None
    ) -> AccessDenied:
        who = (
            f"access key id {credentials.access_key} ({credentials.origin})"
            if credentials
            else "unsigned requests"
        )
        if refusal.code == "RequestTimeTooSkewed":
            remedy = "This machine's clock is wrong: set it."
        elif credentials is None:
            remedy = "Give credentials."
        else:
            remedy = "Check the credentials and the bucket's policy."
        return AccessDenied(f"{what}: refused to {who}: {said}.", remedy=remedy)


def explain(error: BaseException) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, socket.gaierror):
        return f"its name is not known ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, http.client.IncompleteRead):
        return "the reply broke off"
    return str(error) or in_words(error)
