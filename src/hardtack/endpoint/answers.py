"""From what an inference server says to the image query that the SDK reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hardtack.core.errors import EndpointError
from hardtack.endpoint import replies
from hardtack.endpoint.detectors import Detector

RESULT_TYPES = {
    "BINARY": "binary_classification",
    "MULTI_CLASS": "multi_classification",
    "COUNT": "counting",
    "BOUNDING_BOX": "bounding_box",
    "TEXT": "text_recognition",
}
_TASKS = {
    "BINARY": ("binary",),
    "MULTI_CLASS": ("multiclass", "binary"),
    "COUNT": ("count", "boxes"),
    "BOUNDING_BOX": ("boxes", "count"),
    "TEXT": ("text",),
}
"""Mode → tasks of models that can answer it."""
_MOST_TEXT = 250


@dataclass(frozen=True)
class Answer:
    """`result`, `rois` and `text` as the SDK reads them; `confidence` from 0 to 1."""

    confidence: float
    result: dict[str, Any]
    rois: list[dict[str, Any]] | None = None
    text: str | None = None


def answer(detector: Detector, reply: Mapping[str, Any]) -> Answer:
    """The answer in the body of an `/infer` reply. Raises EndpointError where there is none."""
    own = reply.get("result") or replies.result(detector, reply)
    if not isinstance(own, Mapping) or own.get("task") not in _TASKS[detector.mode]:
        task = own.get("task") if isinstance(own, Mapping) else None
        raise EndpointError(
            f"The model of {detector.id} answers the task {task!r}; the detector's mode is "
            f"{detector.mode}, which needs {' or '.join(_TASKS[detector.mode])}.",
            remedy="Correct the mode in the file of detectors, or put the right model there.",
        )
    confidence = min(1.0, max(0.0, float(own["confidence"])))
    head = {
        "confidence": confidence,
        "source": "ALGORITHM",
        "result_type": RESULT_TYPES[detector.mode],
        "from_edge": True,
    }
    if detector.mode in ("BINARY", "MULTI_CLASS"):
        return Answer(confidence, {**head, "label": own["label"]})
    if detector.mode == "TEXT":
        text = own["text"][:_MOST_TEXT]
        result = {**head, "text": text, "truncated": len(own["text"]) > _MOST_TEXT}
        return Answer(confidence, result, _rois(own), text)
    count, most = int(own["count"]), detector.most or 0
    over = bool(most) and count > most
    rois = _rois(own)[: most or None]
    if detector.mode == "COUNT":
        counted = min(count, most) if over else count
        return Answer(confidence, {**head, "count": counted, "greater_than_max": over}, rois)
    label = "GREATER_THAN_MAX" if over else "BOUNDING_BOX" if count else "NO_OBJECTS"
    return Answer(confidence, {**head, "label": label}, rois)


def image_query(
    identity: str, detector: Detector, found: Answer | None, *, threshold: float,
    patience: float, metadata: Mapping[str, Any] | None, seconds: float, done: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """The image query, whole; its result is null as long as nothing is `found`."""
    return {
        "id": identity,
        "type": "image_query",
        "created_at": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds"),
        "query": detector.query,
        "detector_id": detector.id,
        "result_type": RESULT_TYPES[detector.mode],
        "result": found.result if found else None,
        "confidence_threshold": threshold,
        "patience_time": patience,
        "rois": found.rois if found else None,
        "text": found.text if found else None,
        "metadata": {**(metadata or {}), "is_from_edge": True},
        "done_processing": done,
    }


def _rois(own: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "label": box["label"] or "text",
            "score": box["score"],
            "geometry": {
                **{side: box[side] for side in ("left", "top", "right", "bottom")},
                "x": (box["left"] + box["right"]) / 2,
                "y": (box["top"] + box["bottom"]) / 2,
            },
        }
        for box in own["boxes"]
    ]
