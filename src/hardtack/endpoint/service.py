"""How the endpoint answers image queries, apart from HTTP. Its methods block, in threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from hardtack.core.errors import EndpointError, UpstreamError, in_words
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

_ASYNC_THREADS = 4
_MOST_ASYNC = 256
_ENDED = "The endpoint ended before it was answered."


class Service:
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
        self._later = ThreadPoolExecutor(_ASYNC_THREADS, thread_name_prefix="async")
        self._later_free = threading.Semaphore(_MOST_ASYNC)
        store.give_up(_ENDED)

    def hang_up(self, detectors: Iterable[str]) -> None:
        """On every server that answers for none of these any more."""
        addresses = map(self.backend.address, detectors)
        self._inferring.only({address for address in addresses if address is not None})

    def close(self) -> None:
        self._later.shutdown(wait=True, cancel_futures=True)
        self.store.give_up(_ENDED)
        if self.cloud:
            self.cloud.close()
        self._inferring.close()
        self.store.close()

    def get(self, identity: str, token: str = "") -> dict[str, Any] | None:
        """An image query as it is known now."""
        body = self.store.get(identity)
        return self.cloud.newer(body, token) if body and self.cloud else body

    def submit(self, asked: Asked, picture: Picture) -> dict[str, Any]:
        """The image query, answered and kept. Raises Refused."""
        if asked.image_query_id and (known := self.store.get(asked.image_query_id)):
            if known["detector_id"] != asked.detector:
                raise Refused(400, f"The image query {known['id']} is another detector's already.")
            return known
        detector = self.known.detector(asked.detector, picture.token)
        self._refuse_what_needs_the_cloud(asked)
        query = Query(asked.image_query_id or ids.new_image_query(), asked, detector, picture)
        if asked.inspection_id or not self.known.config.of(detector.id).enabled:
            return self._cloud_alone(query)
        if asked.want_async:
            return self._submit_async(replace(query, asked=replace(asked, want_async=False)))
        first = asked.human_review == "ALWAYS"
        if first and (body := self._from_cloud(query)):
            return body
        return self._answered(query, ask_cloud=not first)

    def _answered(self, query: Query, *, ask_cloud: bool = True) -> dict[str, Any]:
        """The box's answer, or the cloud's where it is not enough and it may be asked (again).
        Raises Refused."""
        begun = time.monotonic()
        try:
            found = self._infer(query)
        except Refused as refused:
            promised = self.known.config.of(query.detector.id).always_return_edge_prediction
            away = refused.status in (503, 504)
            if away and ask_cloud and not promised and (body := self._from_cloud(query)):
                return body
            raise
        seconds = time.monotonic() - begun
        self.metrics.answered(query.detector.id, found.confidence, seconds)
        chosen = self._way(query, found)
        self.metrics.went(query.detector.id, chosen.value)
        if chosen is Way.CLOUD:
            if ask_cloud and (told := self._from_cloud(query)):
                return told
            chosen = Way.LATER
        body = query.body(found)
        if chosen in (Way.LATER, Way.AUDIT):
            audit = chosen is Way.AUDIT
            queued = self._queue(query, body, audit=audit)
            body["done_processing"] = audit or not queued
        self._keep(query, body, seconds)
        return body

    def _infer(self, query: Query) -> Answer:
        """What the box says. Raises Refused."""
        detector, picture = query.detector, query.picture
        address = self.backend.address(detector.id)
        if address is None:
            raise Refused(503, self._why_not(detector.id), 5)
        reply = self._inferring.infer(detector.id, address, picture.data, picture.media)
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

    def _submit_async(self, query: Query) -> dict[str, Any]:
        """The image query with no result yet; it is answered behind the caller's back."""
        if not self._later_free.acquire(blocking=False):
            raise Refused(429, f"{_MOST_ASYNC} image queries wait for their answers already.", 5)
        body = {**query.body(None), "done_processing": False}
        if why := self.store.add(query.kept(body)):
            self._later_free.release()
            raise Refused(503, f"The image query can't be kept for its answer: {why}.", 5)

        def work() -> None:
            try:
                self._answered(replace(query, stored=True))
            except Refused as refused:
                self.store.change(failed(body, refused.reason))
            except Exception as error:  # noqa: BLE001 (nobody reads what it would be raised to)
                _log.exception("The image query %s failed.", query.id)
                self.store.change(failed(body, in_words(error)))
            finally:
                self._later_free.release()

        self._later.submit(work)
        return body

    def _cloud_alone(self, query: Query) -> dict[str, Any]:
        """The cloud's image query, where the box may not answer. Raises Refused."""
        assert self.cloud is not None
        try:
            reply = self.cloud.submit(query.parameters(), query.picture)
            if reply.status >= 400:
                raise Refused(reply.status, f"The cloud refuses it: {reply.detail}")
            return image_query(reply)
        except UpstreamError as error:
            raise Refused(503, str(error), AWAY) from None

    def _from_cloud(self, query: Query) -> dict[str, Any] | None:
        """The cloud's answer, kept; None where it can't be had now."""
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
