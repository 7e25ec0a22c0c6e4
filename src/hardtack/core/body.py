"""A request's body, bounded in bytes and in time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request


class Unread(Exception):
    """A body that can't be had: the `status` of the reply that says so, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


async def whole_body(request: Request, most: int, patience: float) -> bytes:
    """The body, of at most so many bytes, in at most so many seconds. Raises Unread."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise _too_large(most)
    gathered = bytearray()
    try:
        async with asyncio.timeout(patience):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Unread(400, "The caller went away before its body had arrived.")
                piece, more = message.get("body", b""), message.get("more_body", False)
                if len(gathered) + len(piece) > most:
                    raise _too_large(most)
                if not (more or gathered):  # as usually: nothing needs to be copied
                    return bytes(piece)
                gathered += piece
                if not more:
                    return bytes(gathered)
    except TimeoutError:
        raise Unread(408, "The body did not arrive in time.") from None


def _too_large(most: int) -> Unread:
    return Unread(413, f"The body is over the limit of {most} bytes.")
