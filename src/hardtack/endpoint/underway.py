"""An image query on its way through the box: what was asked, of which detector, about what."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hardtack.endpoint import answers
from hardtack.endpoint.answers import Answer
from hardtack.endpoint.cloud import Picture
from hardtack.endpoint.detectors import Detector
from hardtack.endpoint.query import MOST_METADATA, Asked
from hardtack.endpoint.store import Kept


@dataclass(frozen=True)
class Query:
    """`id` is its one id, however often the cloud is told of it; `created`: seconds since 1970;
    `stored`: it is kept already, without an answer."""

    id: str
    asked: Asked
    detector: Detector
    picture: Picture
    created: float = field(default_factory=time.time)
    stored: bool = False

    @property
    def threshold(self) -> float:
        """The confidence below which the box's answer is not enough."""
        return _or(self.asked.confidence_threshold, self.detector.confidence_threshold)

    def body(self, found: Answer | None) -> dict[str, Any]:
        """It as the SDK reads it, with the box's answer, or none yet."""
        return answers.image_query(
            self.id, self.detector, found,
            threshold=self.threshold,
            patience=_or(self.asked.patience_time, self.detector.patience_time),
            metadata=self.asked.metadata, seconds=self.created,
        )  # fmt: skip

    def kept(self, body: Mapping[str, Any], seconds: float | None = None) -> Kept:
        """It as the store keeps it; `seconds` that the box's answer took."""
        return Kept(body, self.picture.data, self.picture.media, self.created, seconds)

    def parameters(self, result: Mapping[str, Any] | None = None) -> dict[str, str]:
        """The address's parameters for the cloud; `result` is what the box said."""
        asked = self.asked
        metadata: dict[str, Any] = dict(asked.metadata or {})
        if result and len(_json({**metadata, "edge_result": result})) <= MOST_METADATA:
            metadata["edge_result"] = dict(result)
        found = {
            "detector_id": self.detector.id,
            "image_query_id": self.id,
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


def _or(given: float | None, default: float) -> float:
    return default if given is None else given
