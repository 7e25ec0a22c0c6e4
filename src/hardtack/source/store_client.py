"""Requests to one bucket: signed, repeated while that can help, refusals made errors."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from hardtack.core.errors import (
    AccessDenied,
    CorruptReply,
    NotFound,
    ObjectChanged,
    SourceError,
    SourceUnreachable,
    in_words,
)
from hardtack.core.proxy import LOGIN, ProxyError
from hardtack.source.dialect import Dialect, Parameters, Signer
from hardtack.source.http import BROKEN, Host, Pool, Reply, proxy_for, tls_context
from hardtack.source.options import SourceOptions
from hardtack.source.patience import Patience, RateWatch
from hardtack.source.store_replies import (
    ANOTHER,
    Refusal,
    is_web_page,
    parse_refusal,
)

_BUSY = {408, 425, 429, 500, 502, 503, 504, 509}
_BUSY_CODES = {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable"}
_DENIED = {401, 403}
_DENIED_CODES = {
    "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired",
    "PublicAccessNotPermitted",
}  # fmt: skip
_NO_BUCKET_CODES = {"NoSuchBucket", "ContainerNotFound", "ResourceNotFound"}
_REDIRECTS = {301, 302, 303, 307, 308}
_PROXY_SAYS = 407
_SIGN_IN = 511  # Network Authentication Required: a network's sign-in page
_CLOCK_SKEW = 300.0
_REFUSAL_LIMIT = 64 << 10
_WINDOWS = 4

log = logging.getLogger(__name__)


class StoreClient:
    """Thread-safe; connects at the first request."""

    def __init__(self, dialect: Dialect, options: SourceOptions) -> None:
        self.options = options
        self._dialect = dialect
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._closed = False
        self._answered = False

    @property
    def read_headers(self) -> Mapping[str, str]:
        """What a GET of an object's bytes must carry."""
        return self._dialect.read_headers

    def request(
        self,
        method: str,
        key: str,
        what: str,
        *,
        query: Parameters = (),
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
            signer = self._dialect.signer()
            try:
                reply = self._send(method, key, query, headers or {}, signer)
                self._answered = True
                if 200 <= reply.status < 300:
                    return reply
                refusal = self._refusal(method, reply)
            except BROKEN as error:
                self._again(patience, what, error)
                continue
            if reply.status in _BUSY or refusal.code in _BUSY_CODES:
                self._again(patience, what, None, f"{reply.status} {refusal.code}".strip())
                continue
            if not moved and self._follow(signer, reply, refusal):
                moved = True
                continue
            if _denied(reply, refusal) and not reloaded and self._dialect.reload(signer):
                reloaded = True
                continue
            raise self._refused(reply, refusal, what, signer)

    def fetch(self, key: str, what: str, *, query: Parameters, limit: int) -> bytes:
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
        host = self._dialect.host()
        if isinstance(error, ProxyError):
            return SourceUnreachable(f"{what}: {error}.", remedy=error.remedy)
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
        if self._closed or self._hopeless(error) or not patience.again():
            raise self.unreachable(what, error, status) from error
        log.debug("%s: trying again after %s", what, explain(error) if error else status)

    def _hopeless(self, error: BaseException | None) -> bool:
        """Whether another attempt is no use. A proxy that never led anywhere and keeps silent
        for as long as a transfer may is waited for once; on a link that breaks it is again."""
        if isinstance(error, ProxyError):
            return error.lasting or (error.silent and not self._answered)
        return isinstance(error, ssl.SSLCertVerificationError)

    def _send(
        self, method: str, key: str, query: Parameters, headers: Mapping[str, str], signer: Signer
    ) -> Reply:
        pool = self._connections()
        path = self._dialect.path(pool.host, key)
        text, sent = signer.sign(method, path, query, {**headers, "Host": pool.host.header})
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
            host = self._dialect.host()
            if self._pool is None or self._pool.host != host:
                self._pool = self._new_pool(host)
            return self._pool

    def _new_pool(self, host: Host) -> Pool:
        options = self.options
        tls = None
        if host.scheme == "https":
            tls = tls_context(self._dialect.ca_bundle(), insecure=options.insecure)
            if options.insecure:
                self.warn(f"{self._dialect.url} is reached at {host.url}")
        return Pool(
            host,
            size=options.connections,
            timeout=options.progress_deadline,
            proxy=proxy_for(host, options.proxy),
            tls=tls,
        )

    def _follow(self, used: Signer, reply: Reply, refusal: Refusal) -> bool:
        """Whether the bucket lies elsewhere, and is asked for there from now on."""
        warning = self._dialect.follow(used, reply.status, reply.headers, refusal)
        if warning:
            self.warn(warning)
        return bool(warning)

    def _refused(self, reply: Reply, refusal: Refusal, what: str, signer: Signer) -> SourceError:
        status, host, dialect = reply.status, self._dialect.host(), self._dialect
        said = f"{status} {refusal.code}".strip()
        if status == _PROXY_SAYS:
            return SourceUnreachable(
                f"{what}: a proxy on the way to {host.url} wants a user and a password ({status}).",
                remedy=LOGIN,
            )
        if status in _REDIRECTS:
            return SourceError(
                f"{what}: {host.url} redirects {_elsewhere(reply)} ({said}).",
                remedy=dialect.redirected() if refusal.code else ANOTHER,
            )
        if status == _SIGN_IN or (is_web_page(reply.headers) and not refusal.code):
            # whatever its status says: it isn't the store's, so nothing is gone or refused there
            return SourceError(
                f"{what}: {host.url} answers {said} with a web page.", remedy=ANOTHER
            )
        if _denied(reply, refusal):
            return _refused_to(signer, said, reply, refusal, what)
        if status == 404 and refusal.code in _NO_BUCKET_CODES:
            return NotFound(
                f"There is no {dialect.noun} {dialect.bucket} at {host.url}.",
                remedy="Check its name and --endpoint-url."
                + ("" if signer.who else " Or it isn't public: then give credentials."),
            )
        if status == 404:
            return NotFound(f"{what} does not exist.")
        if status in (412, 416):
            return ObjectChanged(f"{what} was replaced ({said}).")
        return SourceError(f"{what}: {host.url} answers {said}. {refusal.message}".rstrip())


def _elsewhere(reply: Reply) -> str:
    """Where a redirect leads, without what may be signed."""
    try:
        name = urlsplit(reply.headers.get("location", "")).hostname
    except ValueError:
        name = None
    return f"to {name}" if name and name.isascii() and name.isprintable() else "elsewhere"


def _denied(reply: Reply, refusal: Refusal) -> bool:
    return reply.status in _DENIED or refusal.code in _DENIED_CODES


def _refused_to(
    signer: Signer, said: str, reply: Reply, refusal: Refusal, what: str
) -> AccessDenied:
    if refusal.code == "RequestTimeTooSkewed" or _skew(reply) > _CLOCK_SKEW:
        remedy = "This machine's clock is wrong: set it."
    elif not signer.who:
        remedy = "Give credentials."
    else:
        remedy = "Check the credentials and what they are allowed."
    return AccessDenied(
        f"{what}: refused to {signer.who or 'unsigned requests'}: {said}.", remedy=remedy
    )


def _skew(reply: Reply) -> float:
    """Seconds between the server's clock and ours, as far as it tells."""
    try:
        return abs(parsedate_to_datetime(reply.headers["date"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return 0.0


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
