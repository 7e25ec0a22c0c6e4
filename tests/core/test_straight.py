"""POSTs that go past an application's routing and middleware."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hardtack.core.straight import Straight


class Marking:
    """Middleware that marks what goes by it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "marked": True}, receive, send)


async def told(request: Request) -> Response:
    return PlainTextResponse(f"{request.method} {'marked' in request.scope}")


def application() -> Starlette:
    routes = [Route(path, told, methods=["GET", "POST"]) for path in ("/much", "/seldom")]
    return Starlette(routes=routes, middleware=[Middleware(Marking)])


def asked(app: ASGIApp, method: str, path: str) -> tuple[int, bytes]:
    """Status and body of the reply."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
        await app(scope, receive, send)

    asyncio.run(ask())
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("POST", "/much", 200, b"POST False"),
        ("GET", "/much", 200, b"GET True"),
        ("POST", "/seldom", 200, b"POST True"),
        ("PUT", "/much", 405, b"Method Not Allowed"),
        ("POST", "/nowhere", 404, b"Not Found"),
    ],
)
def test_only_posts_to_these_paths_go_straight(
    method: str, path: str, status: int, body: bytes
) -> None:
    assert asked(Straight(application(), "/much"), method, path) == (status, body)


def test_a_path_that_the_application_has_not_is_refused() -> None:
    with pytest.raises(KeyError, match="/mcuh"):
        Straight(application(), "/mcuh")
