"""What the endpoint does with a request, apart from HTTP. Its methods block, in threads."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardtack.core.errors import EndpointError
from hardtack.core.files import write_atomically
from hardtack.endpoint import answers, edgeconfig, ids
from hardtack.endpoint.answers import Answer
from hardtack.endpoint.detectors import Detector
from hardtack.endpoint.edgeconfig import EdgeConfig
from hardtack.endpoint.inferring import Inferring
from hardtack.endpoint.metrics import Metrics
from hardtack.endpoint.query import Asked, Refused
from hardtack.endpoint.servers import Backend
from hardtack.endpoint.store import Store

_log = logging.getLogger(__name__)


class Service:
    def __init__(
        self, detectors: Mapping[str, Detector], config: EdgeConfig, kept_config: Path,
        backend: Backend, store: Store, inferring: Inferring, metrics: Metrics,
    ) -> None:  # fmt: skip
        self.detectors = dict(detectors)
        self.config = config
        self.backend = backend
        self.store = store
        self.metrics = metrics
        self._kept_config = kept_config
        self._inferring = inferring
        self._configuring = threading.Lock()

    def wanted(self) -> frozenset[str]:
        """The detectors that a server is run for."""
        return frozenset(d for d in self.detectors if self.config.of(d).enabled)

    def detector(self, identity: str) -> Detector:
        """Raises Refused, 404."""
        found = self.detectors.get(identity)
        if found is None:
            raise Refused(
                404, f"The detector {identity} is not known on this box, which has no cloud to ask."
            )
        return found

    def submit(self, asked: Asked, picture: bytes, media: str) -> dict[str, Any]:
        """The image query, answered and kept. Raises Refused."""
        detector = self.detector(asked.detector)
        if asked.image_query_id and (known := self.store.get(asked.image_query_id)):
            return self._again(known, detector)
        self._refuse_what_needs_the_cloud(asked, detector)
        begun, created = time.monotonic(), time.time()
        found = self._answer(detector, picture, media)
        seconds = time.monotonic() - begun
        body = self._body(asked, detector, found, created)
        self.store.add(body, picture, media, created=created, seconds=seconds)
        self.metrics.answered(detector.id, found.confidence, seconds)
        return body

    def put_config(self, text: str) -> EdgeConfig:
        """Apply an edge configuration and keep it. Raises ConfigError, OSError."""
        config = edgeconfig.parse(text, "the edge configuration")
        with self._configuring:
            write_atomically(self._kept_config, config.as_yaml().encode())
            self.config = config
        return config

    def _answer(self, detector: Detector, picture: bytes, media: str) -> Answer:
        """What the box says. Raises Refused."""
        address = self.backend.address(detector.id)
        if address is None:
            state = self.backend.state(detector.id)
            note = f": {state.note}" if state.note else ""
            raise Refused(503, f"The detector {detector.id} is {state.phase}{note}.", 5)
        reply = self._inferring.infer(address, picture, media)
        try:
            return answers.answer(detector, reply)
        except EndpointError as error:
            _log.error("%s", error)
            raise Refused(502, str(error)) from None

    def _body(
        self, asked: Asked, detector: Detector, found: Answer | None, created: float
    ) -> dict[str, Any]:
        return answers.image_query(
            asked.image_query_id or ids.new_image_query(), detector, found,
            threshold=_or(asked.confidence_threshold, detector.confidence_threshold),
            patience=_or(asked.patience_time, detector.patience_time),
            metadata=asked.metadata, seconds=created,
        )  # fmt: skip

    def _again(self, known: dict[str, Any], detector: Detector) -> dict[str, Any]:
        """A query sent twice, as by a retry, is answered once."""
        if known["detector_id"] != detector.id:
            raise Refused(400, f"The image query {known['id']} is another detector's already.")
        return known

    def _refuse_what_needs_the_cloud(self, asked: Asked, detector: Detector) -> None:
        if asked.human_review == "ALWAYS":
            raise Refused(
                400, "human_review=ALWAYS needs people in the cloud, and this box has no cloud."
            )
        if asked.inspection_id:
            raise Refused(
                400, "inspection_id names an inspection in the cloud, and this box has no cloud."
            )
        if not self.config.of(detector.id).enabled:
            raise Refused(
                503, f"The edge configuration disables {detector.id}, and there is no cloud."
            )


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
