"""edge-endpoint's reply of `/infer`, read as our own `result`: what other programs answer with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hardtack.core.errors import EndpointError
from hardtack.endpoint.detectors import Detector

_SIDES = ("left", "top", "right", "bottom")


def result(detector: Detector, reply: Mapping[str, Any]) -> dict[str, Any]:
    """The `result` that our own server would have added. Raises EndpointError."""
    try:
        return _READ[detector.mode](detector, reply)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EndpointError(
            f"The server of {detector.id} answers with something else than edge-endpoint's reply "
            f"for the mode {detector.mode}: {error!r}.",
            remedy="Correct the mode in the file of detectors, or the program.",
        ) from None


def _binary(_: Detector, reply: Mapping[str, Any]) -> dict[str, Any]:
    single = reply["predictions"]
    label = ("YES", "NO")[int(single["labels"][0])]
    return {"task": "binary", "label": label, "confidence": float(single["confidences"][0])}


def _text(_: Detector, reply: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": "text",
        "confidence": float(reply["predictions"]["confidences"][0]),
        "text": str(reply["secondary_predictions"]["text_predictions"][0]),
        "boxes": _boxes(reply),
    }


def _multiclass(detector: Detector, reply: Mapping[str, Any]) -> dict[str, Any]:
    probabilities = [float(p) for p in reply["multi_predictions"]["probabilities"][0]]
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    label, confidence = detector.classes[best], probabilities[best]
    return {"task": "multiclass", "label": label, "confidence": confidence}


def _count(_: Detector, reply: Mapping[str, Any]) -> dict[str, Any]:
    probabilities = [float(p) for p in reply["multi_predictions"]["probabilities"][0]]
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    return {
        "task": "count", "count": best, "confidence": probabilities[best], "boxes": _boxes(reply),
    }  # fmt: skip


def _located(_: Detector, reply: Mapping[str, Any]) -> dict[str, Any]:
    boxes = _boxes(reply)
    dropped = float((reply["multi_predictions"].get("max_dropped_roi_scores") or [0.0])[0] or 0.0)
    confidence = min((box["score"] for box in boxes), default=1.0) * (1 - dropped)
    return {"task": "boxes", "count": len(boxes), "confidence": confidence, "boxes": boxes}


_READ = {
    "BINARY": _binary,
    "TEXT": _text,
    "MULTI_CLASS": _multiclass,
    "COUNT": _count,
    "BOUNDING_BOX": _located,
}


def _boxes(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Regions of interest, wherever the reply has them."""
    beside = (reply.get("secondary_predictions") or {}).get("roi_predictions") or {}
    found: Sequence[Any] = (
        beside.get("rois") or (reply.get("multi_predictions") or {}).get("rois") or [[]]
    )
    return [
        {
            "label": str(roi["label"]),
            "score": float(roi["score"]),
            **{side: float(roi["geometry"][side]) for side in _SIDES},
        }
        for roi in found[0]
    ]
