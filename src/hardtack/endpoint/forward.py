"""What the box doesn't answer itself, passed on to the cloud, streaming both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from hardtack.core.errors import UpstreamError
from hardtack.endpoint.query import Refused
from hardtack.endpoint.upstream import Upstream

_PREFIX = "/device-api"
_IN_PATHS = "/%:@!$&'()*+,;="
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_AWAY = 30
_ON = ("accept", "content-type", "content-length", "user-agent", "x-api-token", "x-request-id")
_BACK = (
    "content-type", "content-length", "content-encoding", "retry-after", "etag", "last-modified",
)  # fmt: skip


def routes(own: Sequence[BaseRoute], upstream: Upstream) -> list[BaseRoute]:
    """The box's own routes, and all else of the API, with its prefix or bare."""

    async def other(request: Request) -> Response:
        return await pass_on(upstream, request)

    # A path of the box's own with another method is for the cloud too: `_Exact` lets it by.
    exact: list[BaseRoute] = [_Exact(route) for route in own]
    rest = [Route(below + "/{path:path}", other, methods=_METHODS) for below in (_PREFIX, "/v1")]
    return [*exact, *rest, *own]


class _Exact(BaseRoute):
    """A route that matches wholly, method and all, or not."""

    def __init__(self, route: BaseRoute) -> None:
        self._route = route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = self._route.matches(scope)
        return (match, child) if match is Match.FULL else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._route.handle(scope, receive, send)


async def pass_on(upstream: Upstream, request: Request) -> Response:
    """The cloud's reply to this request. Raises Refused: 503 where there is none, 400."""
    if not upstream.reachable:
        raise Refused(503, f"The box can't answer this, and {_away(upstream)}.", _AWAY)
    path = _path(request)
    headers = {name: value for name in _ON if (value := request.headers.get(name))}
    has_body = "content-length" in headers or "transfer-encoding" in request.headers
    body = _Body(request, upstream.deadline) if has_body else None
    try:
        reply = await asyncio.to_thread(
            upstream.stream, request.method, path, request.url.query, body, headers
        )
    except UpstreamError as error:
        raise Refused(503, f"The box can't answer this. {error}", _AWAY) from None
    back = {n: v for n, v in reply.headers.items() if n.lower() in _BACK}
    return StreamingResponse(reply.pieces, reply.status, back)


def _path(request: Request) -> str:
    """As it came: unquoted, a quoted slash would be one more. Raises Refused, 400, where it leads
    out of the API, to what the box's own token was not given for."""
    if not {".", ".."}.isdisjoint(request.scope["path"].split("/")):
        raise Refused(400, "The path has . or .. in it; write it without.")
    path = quote(request.scope["raw_path"], safe=_IN_PATHS)
    return path if path.startswith(_PREFIX + "/") else _PREFIX + path


class _Body(Iterator[bytes]):
    """The caller's body, read by a thread as it comes."""

    def __init__(self, request: Request, patience: float) -> None:
        self._pieces: AsyncIterator[bytes] = request.stream()
        self._loop = asyncio.get_running_loop()
        self._patience = patience

    def __next__(self) -> bytes:
        piece = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result(self._patience)
        if piece is None:
            raise StopIteration
        return piece

    async def _next(self) -> bytes | None:
        try:
            async for piece in self._pieces:
                if piece:
                    return piece
        except ClientDisconnect:
            raise UpstreamError("The caller went away before its body had arrived.") from None
        return None


def _away(upstream: Upstream) -> str:
    reason = upstream.breaker.reason
    return f"the cloud can't be reached{': ' + reason if reason else ''}"
