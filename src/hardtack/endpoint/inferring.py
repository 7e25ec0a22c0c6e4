"""Asking a detector's inference server about a picture."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from typing import Any

import urllib3

from hardtack.endpoint.query import Refused
from hardtack.endpoint.servers import Address
from hardtack.endpoint.suspects import Suspects

_log = logging.getLogger(__name__)

_CONNECTIONS = 16


class Inferring:
    """Connections to inference servers, kept open between pictures. Thread-safe."""

    def __init__(self, *, seconds: float = 30.0) -> None:
        """`seconds`: how long an answer may take."""
        self._timeout = urllib3.Timeout(connect=2.0, read=seconds)
        self._pools: dict[tuple[str, int], urllib3.HTTPConnectionPool] = {}
        self._lock = threading.Lock()
        self._suspects = Suspects()

    def infer(self, detector: str, address: Address, picture: bytes, media: str) -> dict[str, Any]:
        """The reply of `/infer`.

        Raises Refused: 400 and such as the server says for the picture, 422 for one over which it
        has hung or ended twice, 503 where it is away, 504 where it takes too long, 502 for anything
        else.
        """
        server = f"{detector} {address.version}"
        patience = self._timeout.read_timeout
        try:
            with self._suspects.judging(server, picture, float(patience or 0)) as guilty:
                if guilty:
                    reason = (
                        f"The server of {detector} has hung or ended twice over this picture "
                        f"(SHA-256 {guilty}); it isn't asked about it again until the endpoint or "
                        "the model is a new one."
                    )
                    raise Refused(422, reason)
                reply = self._asked(server, address, picture, media)
        except TimeoutError:
            raise Refused(
                503, "Pictures that may end the server are judged before it.", 5
            ) from None
        self._suspects.acquit(server, picture)
        try:
            body = json.loads(reply.data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(502, f"The inference server's reply {reply.status} is not JSON.")
        if reply.status == 200:
            return body
        reason = str(body.get("error", "no reason given"))
        if reply.status in (429, 503):
            raise Refused(reply.status, reason, 1)
        if 400 <= reply.status < 500:
            raise Refused(reply.status, reason)
        raise Refused(502, f"The inference server failed: {reason}")

    def _asked(
        self, server: str, address: Address, picture: bytes, media: str
    ) -> urllib3.BaseHTTPResponse:
        """The server's reply. Raises Refused, 503 and 504."""
        begun = False
        try:
            try:
                return self._post(address, picture, media)
            except urllib3.exceptions.ProtocolError:
                # A connection kept open, to a server that was swapped out meanwhile. The same
                # address once more, and no other: a picture that kills a server kills one.
                begun = True
                return self._post(address, picture, media)
        except urllib3.exceptions.ReadTimeoutError:
            self._struck(server, picture, "did not answer in time")
            raise Refused(504, "The inference server did not answer in time.", 5) from None
        except urllib3.exceptions.HTTPError:
            if begun:
                self._struck(server, picture, "ended")
            raise Refused(503, "The inference server went away; it is started again.", 2) from None

    def _struck(self, server: str, picture: bytes, how: str) -> None:
        digest = hashlib.sha256(picture).hexdigest()
        size = len(picture)
        _log.warning("%s: the server %s over a picture of %d bytes, %s", server, how, size, digest)
        self._suspects.strike(server, picture)

    def _post(self, address: Address, picture: bytes, media: str) -> urllib3.BaseHTTPResponse:
        return self._pool(address).urlopen(
            "POST", "/infer", body=picture, headers={"content-type": media},
            timeout=self._timeout, retries=False,
        )  # fmt: skip

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def _pool(self, address: Address) -> urllib3.HTTPConnectionPool:
        where = (address.host, address.port)
        with self._lock:
            if where not in self._pools:
                for old in list(self._pools)[:-64]:
                    self._pools.pop(old).close()
                self._pools[where] = urllib3.HTTPConnectionPool(
                    *where, maxsize=_CONNECTIONS, block=False
                )
            return self._pools[where]
