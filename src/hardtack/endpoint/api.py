"""The HTTP API: what the Groundlight SDK calls, and the box's own pages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from hardtack.core.body import Unread, whole_body
from hardtack.core.errors import ConfigError
from hardtack.core.straight import Straight
from hardtack.endpoint import forward, openapi, page, phases, query, readiness, status
from hardtack.endpoint.callers import STRANGER
from hardtack.endpoint.cloud import Picture
from hardtack.endpoint.exactly import Json
from hardtack.endpoint.mounted import Mount
from hardtack.endpoint.query import Refused
from hardtack.endpoint.service import Service
from hardtack.endpoint.upstream import TOKEN
from hardtack.endpoint.waiting import waiting_for
from hardtack.endpoint.warming import Warming

_log = logging.getLogger(__name__)

_MOST_PAGE = 1000
_SHORTEST_REFRESH = 1.0
_LOOK = 1.0
_EDITED = 2.0
"""Seconds between looks whether the file of the edge configuration was edited."""
_MOUNT_PATIENCE = 5.0
_PICTURE = {
    "Cache-Control": "private, max-age=86400, immutable",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
"""A picture comes from anybody: shown in a browser, it can't run as this site's."""


@dataclass(frozen=True)
class Limits:
    """Bytes of a body, seconds for it to arrive, and image queries of one detector under way."""

    body: int = 20_000_000
    patience: float = 30.0
    under_way: int = 16


@dataclass
class Api:
    """`ready_file` is where `hardtack ready --watch` keeps its verdict, if it does; `warming` reads
    weights ahead, and may have begun."""

    service: Service
    limits: Limits = field(default_factory=Limits)
    ready_file: Path | None = None
    warming: Warming | None = None

    def __post_init__(self) -> None:
        self._known = self.service.known
        self._hands = self.service.hands
        self._under_way: dict[str, int] = {}
        self._mount = Mount(self._known.models)
        self._warming = self.warming or Warming(self._known.models)
        self._wanted = self._known.named()
        self._wanting = asyncio.Lock()

    def application(self) -> Straight:
        """The ASGI application; the detectors' servers live as long as it does."""
        shared = [
            ("/v1/image-queries", self.image_queries, ["GET", "POST"]),
            ("/v1/image-queries/{id}", self.image_query, ["GET"]),
            ("/v1/image-queries/{id}/image", self.image, ["GET"]),
            ("/v1/detectors", self.detectors, ["GET"]),
            ("/v1/detectors/{id}", self.detector, ["GET"]),
            ("/v1/me", self.me, ["GET"]),
            ("/v1/api-tokens/by-snippet/{snippet}", self.token, ["GET"]),
        ]
        own = [
            ("/edge-config", self.edge_config, ["GET", "PUT"]),
            ("/edge-detector-readiness", self.readiness, ["GET"]),
            ("/edge-info", self.edge_info, ["GET"]),
            ("/ping", self.ping, ["GET"]),
            ("/health/live", self.ping, ["GET"]),
            ("/health/ready", self.ready, ["GET"]),
            ("/status/metrics.json", self.status, ["GET"]),
            ("/metrics", self.metrics, ["GET"]),
            ("/openapi.json", self.description, ["GET"]),
        ]
        routes: list[BaseRoute] = [
            Route(prefix + path, handler, methods=methods)
            for prefix in ("/device-api", "")  # looked through in turn: the SDK's come first
            for path, handler, methods in shared + own
        ]
        routes += [Route("/", self.front, methods=["GET"]), *page.routes()]
        if self.service.cloud:
            routes += [
                Route(f"{prefix}/v1/detectors/{{id}}", self.change, methods=["PATCH", "DELETE"])
                for prefix in ("/device-api", "")
            ]
            routes = forward.routes(routes, self.service.cloud.upstream)
        app = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={Refused: _refusal, HTTPException: _http_error},
        )
        return Straight(app, "/device-api/v1/image-queries", "/v1/image-queries")

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        service = self.service
        try:
            async with asyncio.timeout(_MOUNT_PATIENCE):
                with waiting_for(f"the mount of {self._known.models}"):
                    await self._want()
        except TimeoutError:
            _log.warning("%s does not answer. The endpoint goes on without it.", self._known.models)
            service.backend.want(self._wanted)
        await service.backend.start()
        if service.cloud:
            service.cloud.start()
        tasks = [asyncio.create_task(work()) for work in (self._learn, self._tell, self._configure)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            self._warming.close()
            await service.backend.close()
            await service.close()

    async def _learn(self) -> None:
        """Look for detectors whose models have come, as long as the endpoint runs."""
        while True:
            try:
                await self._hands.run(self._known.learn)
                await self._want()
            except Exception:  # noqa: BLE001 (told, and tried again)
                _log.exception("looking for detectors failed, and is tried again")
            await asyncio.sleep(max(_SHORTEST_REFRESH, self._known.config.refresh_rate))

    async def _want(self) -> None:
        """Have the servers run that are wanted by now, and their weights read ahead."""
        async with self._wanting:  # in turn: what was seen before a change comes before it
            wanted = await self._hands.run(self._known.wanted)
            self.service.backend.want(wanted)
            self._warming.want(wanted)
            self._wanted = wanted

    async def _tell(self) -> None:
        """Say in the log how the wanted detectors' servers are, whenever that changes, and let go
        of those that are gone."""
        seen = phases.Phases(self.service.backend.state)
        while True:
            seen.look(sorted(self._wanted))
            self.service.hang_up(self._wanted)
            await asyncio.sleep(_LOOK)

    async def _configure(self) -> None:
        """Put the file of the edge configuration in force when it is edited."""
        while True:
            try:
                if await self._hands.run(self._known.in_force.look):
                    await self._want()
            except Exception:  # noqa: BLE001 (told, and tried again)
                _log.exception("the edge configuration can't be looked at, which is tried again")
            await asyncio.sleep(_EDITED)

    async def front(self, _: Request) -> Response:
        """A person who knows the address alone is shown the status page."""
        return RedirectResponse("status")

    async def image_queries(self, request: Request) -> Response:
        if request.method != "POST":
            return await self._listed(request)
        try:
            return Json(await self._submit(request))
        except Refused as refused:
            self.service.metrics.refused(refused.status)
            return await _refusal(request, refused)

    async def image_query(self, request: Request) -> Response:
        identity = request.path_params["id"]
        found = await self._hands.run(self.service.get, identity, _token(request))
        if found is None and self.service.cloud:
            return await forward.pass_on(self.service.cloud.upstream, request)
        if found is None:
            raise Refused(404, f"There is no image query {identity!r} on this box.")
        return Json(found)

    async def image(self, request: Request) -> Response:
        identity = request.path_params["id"]
        found = await self._hands.run(self.service.store.picture, identity)
        if found is None and self.service.cloud:
            return await forward.pass_on(self.service.cloud.upstream, request)
        if found is None:
            raise Refused(404, f"There is no picture of an image query {identity!r} on this box.")
        return Response(found[0], media_type=found[1], headers=_PICTURE)

    async def detectors(self, request: Request) -> Response:
        parameters = request.query_params
        number = query.whole(parameters, "page", 1, 1_000_000)
        size = query.whole(parameters, "page_size", 10, _MOST_PAGE)
        name = parameters.get("name")
        found = [d.as_json() for d in self._known.book.every() if name in (None, d.name)]
        if name is not None and not found and self.service.cloud:
            return await forward.pass_on(self.service.cloud.upstream, request)
        start = (number - 1) * size
        return _page(request, found[start : start + size], len(found), number, size)

    async def detector(self, request: Request) -> Response:
        identity = query.detector_id(request.path_params["id"])
        found = await self._hands.run(self._known.detector, identity, _token(request))
        return Json(found.as_json())

    async def change(self, request: Request) -> Response:
        """The cloud changes or deletes one of its detectors; the box knows it at once."""
        assert self.service.cloud is not None
        identity = query.detector_id(request.path_params["id"])
        reply = await forward.pass_on(self.service.cloud.upstream, request)
        if reply.status_code < 300 and request.method == "DELETE":
            await self._hands.run(self._known.book.forget, identity)
        elif reply.status_code < 300:
            await self._hands.run(self._known.learn_of, identity, _token(request))
        return reply

    async def me(self, _: Request) -> Response:
        return Json(
            {
                "email": "edge@localhost",
                "username": "edge",
                "group": {"id": 0, "name": "edge"},
                "is_superuser": False,
            }
        )

    async def token(self, _: Request) -> Response:
        raise Refused(404, "Tokens are not kept on this box.")

    async def edge_config(self, request: Request) -> Response:
        if request.method == "PUT":
            body = await self._body(request)
            try:
                await self._hands.run(self._known.in_force.put, body.decode())
            except UnicodeDecodeError:
                raise Refused(400, "The edge configuration is not UTF-8.") from None
            except ConfigError as error:
                raise Refused(400, str(error)) from None
            except OSError as error:
                raise Refused(507, f"The edge configuration can't be kept: {error}.") from None
            await self._want()
        return Json(self._known.config.as_json())

    async def readiness(self, _: Request) -> Response:
        return Json(
            {d: {"ready": self.service.backend.address(d) is not None} for d in self._named()}
        )

    async def edge_info(self, _: Request) -> Response:
        cloud = self.service.cloud
        return Json({"upstream_endpoint": cloud.upstream.url if cloud else ""})

    async def ping(self, _: Request) -> Response:
        return Json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        backend = self.service.backend
        states = {d: backend.state(d) for d in sorted(self._wanted) if backend.address(d) is None}
        # A probe has no token: why a detector doesn't answer is for those who have.
        stranger = STRANGER in request.scope
        waiting = {d: s.phase if stranger else phases.told(s) for d, s in states.items()}
        return Json({"ready": not waiting, "waiting": waiting}, 503 if waiting else 200)

    async def status(self, _: Request) -> Response:
        return Json(await self._hands.run(self._told))

    def _told(self) -> dict[str, Any]:
        verdict = readiness.read(self.ready_file) if self.ready_file else None
        return {**status.told(self.service, self._mount), "ready": verdict}

    async def metrics(self, _: Request) -> Response:
        text = await self._hands.run(self.service.metrics.text)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def description(self, _: Request) -> Response:
        return Json(openapi.description())

    def _named(self) -> list[str]:
        """Detectors that the box knows, and those that its configuration names."""
        return sorted({*(d.id for d in self._known.book.every()), *self._known.config.detectors})

    async def _listed(self, request: Request) -> Response:
        parameters = request.query_params
        number = query.whole(parameters, "page", 1, 1_000_000)
        size = query.whole(parameters, "page_size", 10, _MOST_PAGE)
        detector = parameters.get("detector_id")
        if detector is not None:
            query.detector_id(detector)
        count, found = await self._hands.run(self.service.store.listed, number, size, detector)
        return _page(request, found, count, number, size)

    async def _submit(self, request: Request) -> dict[str, Any]:
        asked = query.read(dict(request.query_params))  # which is quicker to ask
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not media.startswith("image/"):
            raise Refused(
                415, f"The body is {media or 'of no type'}; expected a picture, such as image/jpeg."
            )
        under_way = self._under_way.get(asked.detector, 0)
        if under_way >= self.limits.under_way:
            raise Refused(429, f"{under_way} image queries of {asked.detector} are under way.", 1)
        self._under_way[asked.detector] = under_way + 1
        try:
            picture = Picture(await self._body(request), media, _token(request))
            return await self.service.submit(asked, picture)
        finally:
            self._under_way[asked.detector] -= 1
            if not self._under_way[asked.detector]:
                del self._under_way[asked.detector]

    async def _body(self, request: Request) -> bytes:
        """The whole body. Raises Refused: 413 past the limit, 408 when it doesn't arrive."""
        try:
            return await whole_body(request, self.limits.body, self.limits.patience)
        except Unread as unread:
            raise Refused(unread.status, unread.reason) from None


def _token(request: Request) -> str:
    return request.headers.get(TOKEN, "")


def _page(
    request: Request, results: list[dict[str, Any]], count: int, number: int, size: int
) -> Response:
    """One page of a list of `count`, numbered from 1, with the addresses of those beside it."""

    def other(page: int) -> str:
        return str(request.url.include_query_params(page=page))

    following = other(number + 1) if number * size < count else None
    previous = other(number - 1) if number > 1 else None
    return Json({"count": count, "next": following, "previous": previous, "results": results})


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return Json({"detail": error.reason}, error.status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code in (404, 405):
        asked = f"{request.method} {request.url.path[:80]}"
        detail = (
            f"{asked} is not answered by this box, whose own calls /openapi.json describes. Others "
            "are the cloud's, for which it needs --upstream."
        )
    return Json({"detail": detail}, error.status_code, error.headers)
