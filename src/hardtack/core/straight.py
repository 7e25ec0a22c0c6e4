"""The straight way to what an HTTP server is asked thousands of times for once of all else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class Straight:
    """An application, some of whose POSTs go by its routes and middleware, which take a tenth of a
    millisecond of the processor, and of its caches as much again."""

    def __init__(self, app: ASGIApp, handlers: Mapping[str, Handler]) -> None:
        """`handlers`: path → what replies there, to errors too."""
        self._app = app
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        posted = scope["type"] == "http" and scope["method"] == "POST"
        handler = self._handlers.get(scope["path"]) if posted else None
        if handler is None:
            await self._app(scope, receive, send)
        else:
            response = await handler(Request(scope, receive))
            await response(scope, receive, send)


class Unread(Exception):
    """A body that can't be had: the `status` of the reply that says so, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


async def whole_body(request: Request, most: int, patience: float) -> bytes:
    """The body, of at most so many bytes, in at most so many seconds. Raises Unread."""
    too_large = Unread(413, f"The body is over the limit of {most} bytes.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise too_large
    gathered = bytearray()
    try:
        async with asyncio.timeout(patience):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Unread(400, "The caller went away before its body had arrived.")
                piece, more = message.get("body", b""), message.get("more_body", False)
                if len(gathered) + len(piece) > most:
                    raise too_large
                if not (more or gathered):  # as usually: nothing needs to be copied
                    return bytes(piece)
                gathered += piece
                if not more:
                    return bytes(gathered)
    except TimeoutError:
        raise Unread(408, "The body did not arrive in time.") from None
