"""How the endpoint answers image queries, apart from HTTP.

What it answers alone takes no thread: it asks the inference server in the event loop, and its
record is written behind the answer. Threads do what waits for a disk or the cloud."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hardtack.core.errors import EndpointError, UpstreamError, in_words
from hardtack.core.hands import Hands
from hardtack.endpoint import answers, ids, phases
from hardtack.endpoint.answers import Answer
from hardtack.endpoint.cloud import Cloud, Picture
from hardtack.endpoint.delivery import image_query
from hardtack.endpoint.escalation import Escalations, Way
from hardtack.endpoint.inferring import Inferring
from hardtack.endpoint.known import AWAY, Known
from hardtack.endpoint.metrics import Metrics
from hardtack.endpoint.outbox import Entry
from hardtack.endpoint.query import Asked, Refused
from hardtack.endpoint.servers import Backend
from hardtack.endpoint.store import Store, failed
from hardtack.endpoint.underway import Query

_log = logging.getLogger(__name__)

_HANDS = 256
_LATER = 4
"""Image queries that are answered behind their callers' backs at a time."""
_MOST_LATER = 256
_ENDED = "The endpoint ended before it was answered."


class Service:
    """For one event loop; what blocks says so, and is for `hands`."""

    def __init__(
        self, known: Known, backend: Backend, store: Store, inferring: Inferring, metrics: Metrics,
        cloud: Cloud | None = None,
    ) -> None:  # fmt: skip
        self.known = known
        self.backend = backend
        self.store = store
        self.metrics = metrics
        self.cloud = cloud
        self._inferring = inferring
        self._escalations = Escalations()
        self.hands = Hands(_HANDS, "query")
        self._later: set[asyncio.Task[None]] = set()
        self._owed = 0
        self._turns = asyncio.Semaphore(_LATER)
        self._ended = False
        store.give_up(_ENDED)

    def hang_up(self, detectors: Iterable[str]) -> None:
        """On every server that answers for none of these any more."""
        addresses = map(self.backend.address, detectors)
        self._inferring.only({address for address in addresses if address is not None})

    async def close(self) -> None:
        """Of what is to be answered behind its callers' backs, what has begun is awaited."""
        self._ended = True
        await asyncio.gather(*self._later, return_exceptions=True)  # what failed was told
        self._inferring.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.store.give_up(_ENDED)
        if self.cloud:
            self.cloud.close()
        self.store.close()

    def get(self, identity: str, token: str = "") -> dict[str, Any] | None:
        """An image query as it is known now. Blocks."""
        body = self.store.get(identity)
        return self.cloud.newer(body, token) if body and self.cloud else body

    async def submit(self, asked: Asked, picture: Picture) -> dict[str, Any]:
        """The image query, answered and kept. Raises Refused."""
        if asked.image_query_id and (known := await self._stored(asked.image_query_id)):
            if known["detector_id"] != asked.detector:
                raise Refused(400, f"The image query {known['id']} is another detector's already.")
            return known
        detector = self.known.book.get(asked.detector)
        if detector is None:
            detector = await self.hands.run(self.known.detector, asked.detector, picture.token)
        self._refuse_what_needs_the_cloud(asked)
        query = Query(asked.image_query_id or ids.new_image_query(), asked, detector, picture)
        if asked.inspection_id or not self.known.config.of(detector.id).enabled:
            return await self.hands.run(self._cloud_alone, query)
        if asked.want_async:
            return await self._submit_async(replace(query, asked=replace(asked, want_async=False)))
        first = asked.human_review == "ALWAYS"
        if first and (body := await self._asked_cloud(query)):
            return body
        return await self._answered(query, ask_cloud=not first)

    async def _answered(self, query: Query, *, ask_cloud: bool = True) -> dict[str, Any]:
        """The box's answer, or the cloud's where it is not enough and it may be asked (again).
        Raises Refused."""
        begun = time.monotonic()
        try:
            found = await self._infer(query)
        except Refused as refused:
            promised = self.known.config.of(query.detector.id).always_return_edge_prediction
            away = refused.status in (503, 504)
            if away and ask_cloud and not promised and (body := await self._asked_cloud(query)):
                return body
            raise
        seconds = time.monotonic() - begun
        self.metrics.answered(query.detector.id, found.confidence, seconds)
        chosen = self._way(query, found)
        self.metrics.went(query.detector.id, chosen.value)
        if chosen is Way.CLOUD and not ask_cloud:
            chosen = Way.LATER
        if chosen is Way.EDGE and not query.stored:
            body = query.body(found)
            if self.store.offer_behind(query.kept(body, seconds)):
                return body
        return await self.hands.run(self._concluded, query, found, chosen, seconds)

    def _concluded(
        self, query: Query, found: Answer, chosen: Way, seconds: float
    ) -> dict[str, Any]:
        """The image query with the box's answer, or the cloud's, kept. Blocks."""
        if chosen is Way.CLOUD:
            if told := self._from_cloud(query):
                return told
            chosen = Way.LATER
        body = query.body(found)
        if chosen in (Way.LATER, Way.AUDIT):
            audit = chosen is Way.AUDIT
            queued = self._queue(query, body, audit=audit)
            body["done_processing"] = audit or not queued
        self._keep(query, body, seconds)
        return body

    async def _infer(self, query: Query) -> Answer:
        """What the box says. Raises Refused."""
        detector, picture = query.detector, query.picture
        address = self.backend.address(detector.id)
        if address is None:
            raise Refused(503, self._why_not(detector.id), 5)
        reply = await self._inferring.infer(detector.id, address, picture.data, picture.media)
        try:
            return answers.answer(detector, reply)
        except EndpointError as error:
            _log.error("%s", error)
            raise Refused(502, str(error)) from None

    def _why_not(self, detector: str) -> str:
        """Why the detector has no server, and how far its weights have come."""
        state = self.backend.state(detector)
        told, progress = phases.told(state).rstrip("."), ""
        if state.weights and state.weights[1]:
            progress = f" {100 * state.weights[0] // state.weights[1]} % of its weights."
        return f"The detector {detector} is {told}.{progress}"

    def _way(self, query: Query, found: Answer) -> Way:
        if self.cloud is None:
            return Way.EDGE
        config, detector = self.known.config, query.detector.id
        return self._escalations.choose(
            detector, config.of(detector), config.confident_audit_rate,
            confident=found.confidence >= query.threshold, human_review=query.asked.human_review,
        )  # fmt: skip

    async def _submit_async(self, query: Query) -> dict[str, Any]:
        """The image query with no result yet; it is answered behind the caller's back."""
        if self._owed >= _MOST_LATER:
            raise Refused(429, f"{_MOST_LATER} image queries wait for their answers already.", 5)
        body = {**query.body(None), "done_processing": False}
        self._owed += 1
        try:
            if why := await self.hands.run(self.store.add, query.kept(body)):
                raise Refused(503, f"The image query can't be kept for its answer: {why}.", 5)
        except BaseException:
            self._owed -= 1
            raise
        task = asyncio.create_task(self._answer_later(replace(query, stored=True), body))
        self._later.add(task)
        task.add_done_callback(self._paid)
        return body

    def _paid(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        self._owed -= 1

    async def _answer_later(self, query: Query, body: Mapping[str, Any]) -> None:
        """What has had no turn when the endpoint ends is told so by the end."""
        async with self._turns:
            if self._ended:
                return
            try:
                await self._answered(query)
            except Refused as refused:
                await self.hands.run(self.store.change, failed(body, refused.reason))
            except Exception as error:  # noqa: BLE001 (nobody reads what it would be raised to)
                _log.exception("The image query %s failed.", query.id)
                await self.hands.run(self.store.change, failed(body, in_words(error)))

    def _cloud_alone(self, query: Query) -> dict[str, Any]:
        """The cloud's image query, where the box may not answer. Blocks. Raises Refused."""
        assert self.cloud is not None
        try:
            reply = self.cloud.submit(query.parameters(), query.picture)
            if reply.status >= 400:
                raise Refused(reply.status, f"The cloud refuses it: {reply.detail}")
            return image_query(reply)
        except UpstreamError as error:
            raise Refused(503, str(error), AWAY) from None

    async def _stored(self, identity: str) -> dict[str, Any] | None:
        return await self.hands.run(self.store.get, identity)

    async def _asked_cloud(self, query: Query) -> dict[str, Any] | None:
        return await self.hands.run(self._from_cloud, query)

    def _from_cloud(self, query: Query) -> dict[str, Any] | None:
        """The cloud's answer, kept; None where it can't be had now. Blocks."""
        if self.cloud is None:
            return None
        try:
            reply = self.cloud.submit(query.parameters(), query.picture)
            if reply.status >= 400:
                _log.warning(
                    "The cloud refuses the image query %s: %d, %s",
                    query.id, reply.status, reply.detail,
                )  # fmt: skip
                return None
            body = image_query(reply)
        except UpstreamError as error:  # that the cloud is away is told once, by its breaker
            _log.debug("%s: %s", query.id, error)
            return None
        if query.stored:
            body["id"] = query.id
        self._keep(query, body, None)
        return body

    def _queue(self, query: Query, body: Mapping[str, Any], *, audit: bool) -> bool:
        """Whether the cloud will be told of it behind the box's answer."""
        assert self.cloud is not None
        self.cloud.upstream.remember(query.picture.token)
        parameters = query.parameters(body["result"])
        return self.cloud.delivery.put(
            Entry(query.id, audit, parameters, query.picture.media, query.picture.data)
        )

    def _keep(self, query: Query, body: Mapping[str, Any], seconds: float | None) -> None:
        if query.stored:
            self.store.change(body, seconds)
        else:
            self.store.add_behind(query.kept(body, seconds))

    def _refuse_what_needs_the_cloud(self, asked: Asked) -> None:
        inference = self.known.config.of(asked.detector)
        why = "this box has no cloud" if self.cloud is None else ""
        if not why and inference.always_return_edge_prediction:
            why = "the edge configuration has this box answer for the detector"
        if why and asked.human_review == "ALWAYS":
            raise Refused(400, f"human_review=ALWAYS needs people in the cloud, but {why}.")
        if why and asked.inspection_id:
            raise Refused(400, f"inspection_id names an inspection in the cloud, but {why}.")
        if self.cloud is None and not inference.enabled:
            raise Refused(
                503, f"The edge configuration disables {asked.detector}, and there is no cloud.", 60
            )
