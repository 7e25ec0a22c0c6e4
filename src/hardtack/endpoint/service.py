"""What the endpoint does with a request, apart from HTTP. Its methods block, in threads."""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardtack.core.errors import EndpointError, UpstreamError, in_words
from hardtack.endpoint import answers, ids, phases
from hardtack.endpoint.answers import Answer
from hardtack.endpoint.book import Book
from hardtack.endpoint.cloud import Cloud, Picture
from hardtack.endpoint.delivery import image_query
from hardtack.endpoint.detectors import Detector
from hardtack.endpoint.edgeconfig import EdgeConfig
from hardtack.endpoint.escalation import Answered, Way, way
from hardtack.endpoint.inferring import Inferring
from hardtack.endpoint.inforce import InForce
from hardtack.endpoint.metrics import Metrics
from hardtack.endpoint.outbox import Entry
from hardtack.endpoint.query import MOST_METADATA, Asked, Refused
from hardtack.endpoint.servers import Backend
from hardtack.endpoint.store import Kept, Store, failed
from hardtack.endpoint.upstream import Reply
from hardtack.endpoint.waiting import waiting_for

_log = logging.getLogger(__name__)

_ASYNC_THREADS = 4
_MOST_ASYNC = 256
_AWAY = 30
_ENDED = "The endpoint ended before it was answered."


class Service:
    def __init__(
        self, book: Book, models: Path, in_force: InForce, backend: Backend,
        store: Store, inferring: Inferring, metrics: Metrics, cloud: Cloud | None = None,
    ) -> None:  # fmt: skip
        self.book = book
        self.models = models
        self.in_force = in_force
        self.backend = backend
        self.store = store
        self.metrics = metrics
        self.cloud = cloud
        self._inferring = inferring
        self._escalating = threading.Lock()
        self._escalated: dict[str, float] = {}
        self._later = ThreadPoolExecutor(_ASYNC_THREADS, thread_name_prefix="async")
        self._later_free = threading.Semaphore(_MOST_ASYNC)
        store.give_up(_ENDED)

    @property
    def config(self) -> EdgeConfig:
        return self.in_force.now

    def close(self) -> None:
        self._later.shutdown(wait=True, cancel_futures=True)
        self.store.give_up(_ENDED)
        if self.cloud:
            self.cloud.close()
        self._inferring.close()
        self.store.close()

    def wanted(self) -> frozenset[str]:
        """The detectors that a server is run for: each that the file or the edge configuration
        names, and those learnt from the cloud whose models are here. Blocks on the mount."""
        others = (d.id for d in self.book.every() if self.config.of(d.id).enabled)
        return self.named().union(d for d in others if _is_there(self.models / d))

    def named(self) -> frozenset[str]:
        """Those of them that are known without a look at the mount."""
        return frozenset(
            d.id
            for d in self.book.every()
            if self.config.of(d.id).enabled
            and (self.book.named(d.id) or d.id in self.config.detectors)
        )

    def detector(self, identity: str, token: str = "") -> Detector:
        """From the box, else from the cloud. Raises Refused: 404, or 503 while it is away."""
        found = self.book.get(identity)
        if found is not None:
            return found
        if self.cloud is None:
            raise Refused(
                404, f"The detector {identity} is not known on this box, which has no cloud to ask."
            )
        try:
            if not self.cloud.upstream.reachable:
                raise UpstreamError(f"The cloud at {self.cloud.upstream.url} can't be reached.")
            reply = self.cloud.upstream.request(
                "GET", f"/device-api/v1/detectors/{identity}", token=token
            )
            if reply.status != 200:
                told = f"{reply.status}, {_detail(reply)}"
                raise Refused(
                    reply.status, f"The cloud says of the detector {identity}: {told.rstrip('.')}."
                )
            return self.book.learn(reply.json())
        except UpstreamError as error:
            raise Refused(
                503, f"The detector {identity} is not known on this box. {error}", _AWAY
            ) from None

    def learn(self) -> None:
        """Ask the cloud about detectors whose models are here and that no file names."""
        if self.cloud is None or not self.cloud.upstream.token:
            return
        try:
            there = [path.name for path in self.models.iterdir()]
        except OSError as error:
            _log.warning("%s can't be listed: %s", self.models, error.strerror)
            return
        for identity in filter(ids.DETECTOR.fullmatch, there):
            if self.book.get(identity) is None and self.cloud.upstream.reachable:
                try:
                    with waiting_for(
                        f"the cloud at {self.cloud.upstream.url} to describe {identity}"
                    ):
                        self.detector(identity, self.cloud.upstream.token)
                except Refused as refused:
                    _log.warning("%s", refused.reason)

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
        # One id from here on, so that however often the cloud is told, it is told of one query.
        asked = replace(asked, image_query_id=asked.image_query_id or ids.new_image_query())
        detector = self.detector(asked.detector, picture.token)
        self._refuse_what_needs_the_cloud(asked)
        inference = self.config.of(detector.id)
        if asked.inspection_id or not inference.enabled:
            return self._cloud_alone(asked, detector, picture)
        if asked.want_async:
            return self._submit_async(replace(asked, want_async=False), detector, picture)
        created = time.time()
        if asked.human_review == "ALWAYS" and (
            body := self._from_cloud(asked, detector, picture, created)
        ):
            return body
        return self._answered(asked, detector, picture, created)

    def _answered(
        self, asked: Asked, detector: Detector, picture: Picture, created: float, *,
        stored: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """The box's answer, or the cloud's where it is not enough. Raises Refused."""
        begun = time.monotonic()
        promised = self.config.of(detector.id).always_return_edge_prediction
        try:
            found = self._infer(detector, picture)
        except Refused as refused:
            away = refused.status in (503, 504)
            if (
                away
                and not promised
                and (body := self._from_cloud(asked, detector, picture, created, stored=stored))
            ):
                return body
            raise
        seconds = time.monotonic() - begun
        self.metrics.answered(detector.id, found.confidence, seconds)
        chosen = self._way(asked, detector, found)
        self.metrics.went(detector.id, chosen.value)
        body = self._body(asked, detector, found, created)
        if chosen is Way.CLOUD:
            told = self._from_cloud(asked, detector, picture, created, stored=stored)
            if told:
                return told
            chosen = Way.LATER
        if chosen in (Way.LATER, Way.AUDIT):
            queued = self._queue(asked, body, picture, chosen is Way.AUDIT)
            body["done_processing"] = not queued or chosen is Way.AUDIT
        self._keep(body, picture, created, seconds, stored=stored)
        return body

    def _way(self, asked: Asked, detector: Detector, found: Answer) -> Way:
        if self.cloud is None:
            return Way.EDGE
        threshold = _or(asked.confidence_threshold, detector.confidence_threshold)
        with self._escalating:
            now = time.monotonic()
            chosen = way(
                self.config.of(detector.id),
                self.config.confident_audit_rate,
                Answered(
                    found.confidence >= threshold,
                    asked.human_review,
                    now - self._escalated.get(detector.id, -1e9),
                    random.random(),
                ),
            )
            if chosen is Way.LATER:
                self._escalated[detector.id] = now
        return chosen

    def _infer(self, detector: Detector, picture: Picture) -> Answer:
        """What the box says. Raises Refused."""
        address = self.backend.address(detector.id)
        if address is None:
            state = self.backend.state(detector.id)
            told, progress = phases.told(state).rstrip("."), ""
            if state.weights and state.weights[1]:
                progress = f" {100 * state.weights[0] // state.weights[1]} % of its weights."
            raise Refused(503, f"The detector {detector.id} is {told}.{progress}", 5)
        reply = self._inferring.infer(detector.id, address, picture.data, picture.media)
        try:
            return answers.answer(detector, reply)
        except EndpointError as error:
            _log.error("%s", error)
            raise Refused(502, str(error)) from None

    def _submit_async(
        self, asked: Asked, detector: Detector, picture: Picture
    ) -> dict[str, Any]:  # fmt: skip
        """The image query with no result yet; it is answered behind the caller's back."""
        if not self._later_free.acquire(blocking=False):
            raise Refused(429, f"{_MOST_ASYNC} image queries wait for their answers already.", 5)
        created = time.time()
        body = {**self._body(asked, detector, None, created), "done_processing": False}
        if why := self.store.add(Kept(body, picture.data, picture.media, created)):
            self._later_free.release()
            raise Refused(503, f"The image query can't be kept for its answer: {why}.", 5)

        def work() -> None:
            try:
                self._answered(asked, detector, picture, created, stored=True)
            except Refused as refused:
                self.store.change(failed(body, refused.reason))
            except Exception as error:  # noqa: BLE001 (nobody reads what it would be raised to)
                _log.exception("The image query %s failed.", asked.image_query_id)
                self.store.change(failed(body, in_words(error)))
            finally:
                self._later_free.release()

        self._later.submit(work)
        return body

    def _cloud_alone(self, asked: Asked, detector: Detector, picture: Picture) -> dict[str, Any]:
        """The cloud's image query, where the box may not answer. Raises Refused."""
        assert self.cloud is not None
        try:
            reply = self.cloud.submit(_parameters(asked, detector), picture)
            if reply.status >= 400:
                raise Refused(reply.status, f"The cloud refuses it: {_detail(reply)}")
            return image_query(reply)
        except UpstreamError as error:
            raise Refused(503, str(error), _AWAY) from None

    def _from_cloud(
        self, asked: Asked, detector: Detector, picture: Picture, created: float, *,
        stored: bool = False,
    ) -> dict[str, Any] | None:  # fmt: skip
        """The cloud's answer, kept; None where it can't be had now."""
        if self.cloud is None:
            return None
        try:
            reply = self.cloud.submit(_parameters(asked, detector), picture)
            if reply.status >= 400:
                _log.warning(
                    "The cloud refuses the image query %s: %d, %s",
                    asked.image_query_id, reply.status, _detail(reply),
                )  # fmt: skip
                return None
            body = image_query(reply)
        except UpstreamError as error:  # that the cloud is away is told once, by its breaker
            _log.debug("%s: %s", asked.image_query_id, error)
            return None
        if stored:
            body["id"] = asked.image_query_id
        self._keep(body, picture, created, None, stored=stored)
        return body

    def _queue(
        self, asked: Asked, body: Mapping[str, Any], picture: Picture, audit: bool
    ) -> bool:  # fmt: skip
        assert self.cloud is not None
        self.cloud.upstream.remember(picture.token)
        detector = self.book.get(asked.detector)
        assert detector is not None
        parameters = _parameters(asked, detector, body["result"])
        return self.cloud.delivery.put(
            Entry(body["id"], audit, parameters, picture.media, picture.data)
        )

    def _keep(
        self, body: Mapping[str, Any], picture: Picture, created: float, seconds: float | None, *,
        stored: bool,
    ) -> None:  # fmt: skip
        if stored:
            self.store.change(body, seconds)
        else:
            self.store.add_behind(Kept(body, picture.data, picture.media, created, seconds))

    def _body(
        self, asked: Asked, detector: Detector, found: Answer | None, created: float
    ) -> dict[str, Any]:
        assert asked.image_query_id is not None
        return answers.image_query(
            asked.image_query_id, detector, found,
            threshold=_or(asked.confidence_threshold, detector.confidence_threshold),
            patience=_or(asked.patience_time, detector.patience_time),
            metadata=asked.metadata, seconds=created,
        )  # fmt: skip

    def _refuse_what_needs_the_cloud(self, asked: Asked) -> None:
        inference = self.config.of(asked.detector)
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


def _is_there(directory: Path) -> bool:
    """Whether it is a directory; no, where its mount is dead, for which `is_dir` raises."""
    try:
        return directory.is_dir()
    except OSError:
        return False


def _parameters(
    asked: Asked, detector: Detector, result: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The address's parameters for the cloud; `result` is what the box said."""
    metadata: dict[str, Any] = dict(asked.metadata or {})
    if result and len(_json({**metadata, "edge_result": result})) <= MOST_METADATA:
        metadata["edge_result"] = dict(result)
    found = {
        "detector_id": detector.id,
        "image_query_id": asked.image_query_id,
        "confidence_threshold": asked.confidence_threshold,
        "patience_time": asked.patience_time,
        "human_review": asked.human_review,
        "inspection_id": asked.inspection_id,
        "want_async": "true" if asked.want_async else None,
        "metadata": base64.urlsafe_b64encode(_json(metadata)).decode() if metadata else None,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _detail(reply: Reply) -> str:
    try:
        return str(reply.json().get("detail", "no reason given"))[:200]
    except UpstreamError:
        return "no reason given"


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
