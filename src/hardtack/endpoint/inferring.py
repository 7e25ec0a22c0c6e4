"""Asking a detector's inference server about a picture."""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import Any

from hardtack.endpoint import exactly
from hardtack.endpoint.connections import Away, Broken, Connections
from hardtack.endpoint.query import Refused
from hardtack.endpoint.servers import Address
from hardtack.endpoint.suspects import Suspects, Suspicion

_log = logging.getLogger(__name__)


class Inferring:
    """For one event loop, and called from it alone."""

    def __init__(self, *, seconds: float = 30.0) -> None:
        """`seconds`: how long an answer may take."""
        self._seconds = seconds
        self._connections = Connections(seconds)
        self._suspects = Suspects()

    async def infer(
        self, detector: str, address: Address, picture: bytes, media: str
    ) -> dict[str, Any]:
        """The reply of `/infer`.

        Raises Refused: 400 and such as the server says for the picture, 422 for one over which it
        has hung or ended twice, 503 where it is away, 504 where it takes too long, 502 for anything
        else.
        """
        server = f"{detector} {address.version}"
        try:
            async with self._suspects.judging(server, picture, self._seconds) as known:
                if known.guilty:
                    reason = (
                        f"The server of {detector} has hung or ended twice over this picture "
                        f"(SHA-256 {known.digest}); it isn't asked about it again until the "
                        "endpoint or the model is a new one."
                    )
                    raise Refused(422, reason)
                status, reply = await self._asked(server, address, picture, media, known)
        except TimeoutError:
            raise Refused(
                503, "Pictures that may end the server are judged before it.", 5
            ) from None
        self._suspects.acquit(server, known)
        try:
            body = exactly.parse(reply)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(502, f"The inference server's reply {status} is not JSON.")
        if status == 200:
            return body
        reason = str(body.get("error", "no reason given"))
        if status in (429, 503):
            raise Refused(status, reason, 1)
        if 400 <= status < 500:
            raise Refused(status, reason)
        raise Refused(502, f"The inference server failed: {reason}")

    async def _asked(
        self, server: str, address: Address, picture: bytes, media: str, known: Suspicion
    ) -> tuple[int, bytes]:
        """The reply's status and body. Raises Refused, 503 and 504."""
        begun = False
        try:
            try:
                return await self._connections.post(address, "/infer", picture, media)
            except Broken:
                # A connection kept open, to a server that was swapped out meanwhile. The same
                # address once more, and no other: a picture that kills a server kills one.
                begun = True
                return await self._connections.post(address, "/infer", picture, media, anew=True)
        except TimeoutError:
            await self._struck(server, picture, known, "did not answer in time")
            raise Refused(504, "The inference server did not answer in time.", 5) from None
        except (Away, Broken):
            if begun:
                await self._struck(server, picture, known, "ended")
            raise Refused(503, "The inference server went away; it is started again.", 2) from None

    async def _struck(self, server: str, picture: bytes, known: Suspicion, how: str) -> None:
        digest = await self._suspects.strike(server, picture, known)
        size = len(picture)
        _log.warning("%s: the server %s over a picture of %d bytes, %s", server, how, size, digest)

    def only(self, addresses: Set[Address]) -> None:
        """Hang up on every other server."""
        self._connections.only(addresses)

    def close(self) -> None:
        self._connections.close()
