"""The HTTP server of one detector: edge-endpoint's `/infer`, and the Open Inference Protocol."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hardtack.core.body import Unread, whole_body
from hardtack.core.errors import HardtackError, ModelError, PictureError
from hardtack.core.straight import Straight
from hardtack.inference import oip, openapi
from hardtack.inference.batching import MOST
from hardtack.inference.images import MAX_PIXELS
from hardtack.inference.judging import Judging
from hardtack.inference.loading import Telling
from hardtack.inference.model import Model
from hardtack.inference.response import reply

_log = logging.getLogger(__name__)

_PAUSE = 0.5


@dataclass(frozen=True)
class Limits:
    """Bytes of a request's body, pixels of a picture, seconds for a body to arrive, how many
    requests may run at a time, and how many may be under way, waiting or running.

    `answer`: seconds after which a picture's run counts as hung; `arrival`: seconds without any
    byte of the weights after which loading does.
    """

    body: int = 20_000_000
    pixels: int = MAX_PIXELS
    patience: float = 30.0
    at_once: int = 4
    under_way: int = 32
    answer: float = 30.0
    arrival: float = 600.0


class _Ended(Exception):
    """The server was told to end while it waited."""


@dataclass
class Service:
    """The model once it is loaded, or why it isn't: it failed to load, or it `waits` for files.

    `fatal` ends the process: a failure to load is then its exit code and its last words, which
    whoever started it reads.
    """

    name: str
    load: Callable[[Telling], Model]
    limits: Limits = field(default_factory=Limits)
    model: Model | None = None
    failure: HardtackError | None = None
    waits: str = ""
    fatal: Callable[[BaseException], None] | None = None

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "hardtack_inference_requests", "Pictures asked about, by status.", ["status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "hardtack_inference_seconds", "Time to decode a picture and run the model.",
            registry=self.registry, buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
        )  # fmt: skip
        self.ready = Gauge(
            "hardtack_inference_ready", "1 when the model is loaded.", registry=self.registry
        )
        self.batches = Histogram(
            "hardtack_inference_batch_pictures", "Pictures that one run of a network was for.",
            registry=self.registry, buckets=(1, 2, 4, MOST),
        )  # fmt: skip
        self.judging = Judging(self.limits.at_once, self.fatal)
        self._under_way = 0
        self._heard_at = time.monotonic()
        self._ended = threading.Event()
        self._told = ""

    async def start(self) -> None:
        """Load the model; a failure is kept for readiness and logged."""
        telling = Telling(self._hear, self._wait)
        try:
            self.model = await run_in_threadpool(self.load, telling)
        except _Ended:
            return
        except HardtackError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - no memory, no thread to be had, whatever it is
            _log.debug("where it failed", exc_info=True)
            why = f"{type(error).__name__}: {error}".removesuffix(": ")
            self._fail(ModelError(f"{self.name} can't be loaded: {why}."))
        else:
            self._gather(self.model)
            self.ready.set(1)
            _log.info("%s is ready, version %s", self.name, self.model.package.version)

    def _fail(self, error: HardtackError) -> None:
        self.failure = error
        if self.fatal:
            self.fatal(error)
        _log.error("%s can't be served: %s", self.name, error)

    def _gather(self, model: Model) -> None:
        """Let as many requests run at a time as make a batch, where there are batches."""
        found = [loaded.batching for loaded in model.networks if loaded.batching]
        for batching in found:
            batching.heard = self.batches.observe
        if found:
            self.judging.widen(MOST)

    def end(self) -> None:
        """Wait for files no longer."""
        self._ended.set()

    def _hear(self, _: int) -> None:
        self.waits = ""
        self._heard_at = time.monotonic()

    def _wait(self, reason: str) -> None:
        """Until it is time to look for the files again: a new start would find no more of them."""
        self.waits = reason
        if reason != self._told:
            _log.warning("%s waits for its model. %s", self.name, reason)
        self._told = reason
        if self._ended.wait(_PAUSE):
            raise _Ended
        self._heard_at = time.monotonic()

    def trouble(self) -> str:
        """Why the process had better be started again; empty while it hadn't."""
        now = time.monotonic()
        if self.failure:
            return str(self.failure)
        if self.model is None and now - self._heard_at > self.limits.arrival:
            return f"No byte of its weights has come for {now - self._heard_at:.0f} s."
        if self.judging.longest() > self.limits.answer:
            return f"A picture has had no answer for over {self.limits.answer:.0f} s."
        return ""

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place among the requests under way. Raises HTTPException 429 when all are taken."""
        if self._under_way >= self.limits.under_way:
            reason = f"{self._under_way} requests are under way already."
            raise HTTPException(429, reason, headers={"Retry-After": "1"})
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def why_not(self) -> str:
        """Why there is no model yet."""
        if self.failure:
            return str(self.failure)
        if self.waits:
            return f"The model of {self.name} isn't here yet. {self.waits}"
        return f"The model of {self.name} is loading."

    def loaded(self) -> Model:
        """The model. Raises HTTPException 503 while there is none."""
        if self.model is None:
            raise HTTPException(503, self.why_not(), headers={"Retry-After": "1"})
        return self.model


def application(service: Service) -> Straight:
    """The ASGI application; the model is loaded in the background from its start on."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.start())
        yield
        service.end()
        await loading

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    async def description(_: Request) -> Response:
        return JSONResponse(openapi.description(service.name))

    routes = [
        Route("/infer", _pictures(service), methods=["POST"]),
        *_health(service),
        Route("/metrics", metrics),
        Route("/openapi.json", description),
        *_protocol(service),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _as_json})
    return Straight(app, "/infer")


def _health(service: Service) -> list[Route]:
    """Alive and ready, under edge-endpoint's paths and the Open Inference Protocol's."""

    async def live(_: Request) -> Response:
        trouble = service.trouble()
        told = {"live": False, "reason": trouble} if trouble else {"live": True}
        return JSONResponse(told, 503 if trouble else 200)

    async def ready(_: Request) -> Response:
        if service.waits and service.model is None:
            told = {"ready": False, "reason": service.waits, "error": service.why_not()}
            return JSONResponse(told, 503, {"Retry-After": "1"})
        return JSONResponse(_described(service.name, service.loaded()))

    return [
        Route(f"{above}/health/{path}", handler)
        for above in ("", "/v2")
        for path, handler in (("live", live), ("ready", ready))
    ]


def _described(name: str, model: Model) -> dict[str, Any]:
    """What readiness says of a model that is loaded."""
    told = {
        "ready": True,
        "model": name,
        "version": model.package.version,
        "providers": model.main.session.providers,
    }
    singly = {n.session.path.name: n.singly for n in model.networks if n.singly}
    return told | ({"singly": singly} if singly else {})


def _pictures(service: Service) -> Callable[[Request], Awaitable[Response]]:
    """`/infer`, each answer counted by its status."""

    counted = cache(service.requests.labels)

    async def infer(request: Request) -> Response:
        try:
            with service.admitted():
                response = await _infer(service, request)
        except HTTPException as error:
            response = await _as_json(request, error)
        counted(str(response.status_code)).inc()
        return response

    return infer


def _protocol(service: Service) -> list[Route]:
    """The Open Inference Protocol, apart from its health."""

    async def about(_: Request) -> Response:
        return JSONResponse(oip.server_metadata())

    async def model_about(request: Request) -> Response:
        return JSONResponse(oip.model_metadata(service.name, _named(service, request)))

    async def model_ready(request: Request) -> Response:
        _named(service, request)
        return JSONResponse({"name": service.name, "ready": True})

    async def model_infer(request: Request) -> Response:
        model = _named(service, request)
        with service.admitted():
            body = await _body(request, service.limits)
            try:
                answer, _ = await service.judging.run(oip.infer, service.name, model, body)
            except HardtackError as error:
                raise HTTPException(400, str(error)) from None
        return _numbers(answer, 400)

    routes = [Route("/v2", about)]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(path, model_about),
            Route(path + "/ready", model_ready),
            Route(path + "/infer", model_infer, methods=["POST"]),
        ]
    return routes


async def _infer(service: Service, request: Request) -> Response:
    model = service.loaded()
    kind = request.headers.get("content-type", "image/*").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise HTTPException(415, f"The body is {kind}; expected a picture, such as image/jpeg.")
    body = await _body(request, service.limits)
    try:
        prediction, seconds = await service.judging.run(model.infer, body, service.limits.pixels)
    except PictureError as error:
        raise HTTPException(400, str(error)) from None
    except MemoryError:
        _log.error("%s: a picture of %d bytes takes too much memory", service.name, len(body))
        reason = "The picture takes more memory than this server may have. Send a smaller one."
        raise HTTPException(413, reason) from None
    except HardtackError as error:
        _log.error("%s: %s", service.name, error)
        raise HTTPException(500, str(error)) from None
    service.seconds.observe(seconds)
    try:
        return _numbers(reply(prediction), 500)
    except HTTPException as error:
        _log.error("%s: %s", service.name, error.detail)
        raise


def _numbers(told: dict[str, Any], otherwise: int) -> Response:
    """A network's numbers. Raises HTTPException `otherwise` for what JSON has no number for."""
    try:
        return JSONResponse(told)
    except ValueError:
        reason = "The network puts out NaN or infinity. Its weights, or the range of its input, "
        raise HTTPException(otherwise, reason + "are not what it was trained with.") from None


async def _body(request: Request, limits: Limits) -> bytes:
    """The whole body. Raises HTTPException 413 past the limit, 408 when it doesn't arrive."""
    try:
        return await whole_body(request, limits.body, limits.patience)
    except Unread as unread:
        raise HTTPException(unread.status, unread.reason) from None


def _named(service: Service, request: Request) -> Model:
    """The model that the path names. Raises HTTPException 404 or 503."""
    model = service.loaded()
    name = request.path_params["model"]
    version = request.path_params.get("version", model.package.version)
    if (name, version) != (service.name, model.package.version):
        raise HTTPException(
            404,
            f"There is no model {name!r}, version {version!r}, here; this is the server of "
            f"{service.name!r}, version {model.package.version!r}.",
        )
    return model


async def _as_json(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
