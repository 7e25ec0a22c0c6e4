"""Connections to inference servers, kept open between pictures, in the endpoint's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Set
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from hardtack.core.connecting import acknowledge_at_once
from hardtack.endpoint.servers import Address

_CONNECT = 2.0
_MOST_IDLE = 16
_MOST_REPLY = 64_000_000
_FRAMING = (b"content-length", b"transfer-encoding")

Reply = tuple[int, bytes]
"""Its status and its body."""


class Away(Exception):
    """Nobody listens there."""


class Broken(Exception):
    """The connection broke off, or what came over it is no reply."""


class Connections:
    """For one event loop, and called from it alone."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long a server may take for a reply."""
        self._seconds = seconds
        self._idle: dict[Address, list[_Wire]] = {}

    async def post(
        self, address: Address, path: str, body: bytes, media: str, *, anew: bool = False
    ) -> Reply:
        """The reply; `anew`: over a connection that none was had on before.

        Raises Away, Broken, TimeoutError.
        """
        wire = (None if anew else self._taken(address)) or await self._opened(address)
        host = f"[{address.host}]" if ":" in address.host else address.host
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{address.port}\r\nContent-Type: {media}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            reply = await wire.ask(head.encode("latin-1"), body, self._seconds)
        except BaseException:
            wire.close()
            raise
        idle = self._idle.setdefault(address, [])
        if wire.reusable and len(idle) < _MOST_IDLE:
            idle.append(wire)
        else:
            wire.close()
        return reply

    def only(self, addresses: Set[Address]) -> None:
        """Close what is idle and leads to others.

        A Service's address stays the same while what it leads to changes: the version tells.
        """
        for address in self._idle.keys() - addresses:
            for wire in self._idle.pop(address):
                wire.close()

    def close(self) -> None:
        """Those that are idle."""
        self.only(frozenset())

    def _taken(self, address: Address) -> _Wire | None:
        """An idle one on which the server hasn't hung up."""
        idle = self._idle.get(address, [])
        while idle:
            if (wire := idle.pop()).open:
                return wire
        return None

    async def _opened(self, address: Address) -> _Wire:
        loop = asyncio.get_running_loop()

        def gone(wire: _Wire) -> None:
            if wire in (idle := self._idle.get(address, [])):
                idle.remove(wire)

        try:
            async with asyncio.timeout(_CONNECT):
                _, wire = await loop.create_connection(
                    lambda: _Wire(gone), address.host, address.port
                )
        except OSError as error:  # TimeoutError is one
            raise Away(str(error)) from None
        return wire


class _Wire(asyncio.Protocol):
    """One connection: a request, its reply, and then the next."""

    _transport: asyncio.Transport
    _told: asyncio.Future[Reply]

    def __init__(self, gone: Callable[[_Wire], None]) -> None:
        """`gone` is called when the other side has hung up."""
        self._gone = gone
        self._parser = HttpResponseParser(self)
        self._asked = False
        self._headed = False
        self._framed = False
        self._body = bytearray()
        self._kept = True

    @property
    def open(self) -> bool:
        """Whether neither side is known to have hung up."""
        return not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether another request may follow the reply that was had."""
        # One that refuses a picture by its head may answer before it has read it all.
        unsent = self._transport.get_write_buffer_size()
        return self._kept and not unsent and self.open

    async def ask(self, head: bytes, body: bytes, seconds: float) -> Reply:
        """The reply, which may take so many seconds. Raises Broken, TimeoutError."""
        if not self.open:
            raise Broken("it hung up")
        loop = asyncio.get_running_loop()
        self._told = loop.create_future()
        self._asked = True
        self._transport.writelines([head, body])
        with contextlib.suppress(OSError):  # of a socket that broke just now, which is told below
            acknowledge_at_once(self._socket)
        deadline = loop.call_later(seconds, _give_up, self._told)
        try:
            return await self._told
        finally:
            deadline.cancel()

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._socket = transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        if not self._asked:  # nothing may come of itself
            self._fail("it sent what nobody had asked for")
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(f"it doesn't answer in HTTP/1.1: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._headed and not self._framed:
            self._end()  # a body whose end is the connection's
        self._fail("it hung up" if error is None else str(error))
        self._gone(self)

    def on_message_begin(self) -> None:
        if not self._asked:  # behind a whole reply: it would pass for the next picture's
            self._fail("it sent what nobody had asked for")
        self._headed = self._framed = False
        self._body = bytearray()

    def on_header(self, name: bytes, _: bytes) -> None:
        self._framed = self._framed or name.lower() in _FRAMING

    def on_headers_complete(self) -> None:
        self._headed = self._parser.get_status_code() >= 200

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > _MOST_REPLY:
            self._fail(f"its reply has over {_MOST_REPLY} bytes")

    def on_message_complete(self) -> None:
        if self._headed:  # else what it says is yet to come
            self._end()

    def _end(self) -> None:
        self._kept = self._framed and self._parser.should_keep_alive()
        self._asked = self._headed = False
        if not self._told.done():
            self._told.set_result((self._parser.get_status_code(), bytes(self._body)))

    def _fail(self, reason: str) -> None:
        if self._asked and not self._told.done():
            self._told.set_exception(Broken(reason))
        self._asked = False
        self._transport.abort()


def _give_up(told: asyncio.Future[Reply]) -> None:
    if not told.done():
        told.set_exception(TimeoutError())
