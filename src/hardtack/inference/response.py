"""The reply of `/infer`: edge-endpoint's schema, and our whole answer under `result`."""

from __future__ import annotations

import math
from typing import Any

from hardtack.inference.oodd import lowered
from hardtack.inference.tasks import Box, BoxesResult, ClassResult, Prediction, TextResult


def reply(prediction: Prediction) -> dict[str, Any]:
    """What a client of edge-endpoint's inference pods expects, as JSON's types.

    binary and text fill `predictions` (label 0 is YES, 1 NO); multiclass, count and boxes fill
    `multi_predictions`, where the place of the greatest probability is the class, the count, or 1
    for "as the boxes say".
    """
    result, confidence = prediction.result, prediction.confidence
    single: dict[str, Any] | None = None
    multi: dict[str, Any] | None = None
    secondary: dict[str, Any] | None = None
    if isinstance(result, TextResult):
        single = _single(confidence, 0, confidence)
        secondary = {
            "roi_predictions": {"rois": [[_roi(box) for box in result.boxes]]},
            "text_predictions": [result.text],
        }
    elif isinstance(result, ClassResult) and prediction.task == "binary":
        yes = confidence if result.label == "YES" else 1 - confidence
        single = _single(confidence, 0 if result.label == "YES" else 1, yes)
    elif isinstance(result, ClassResult):
        multi = _multi(_blended(result, prediction.outlier), None)
    else:
        place = result.count if prediction.task == "count" else 1
        multi = _multi(_peak(place, confidence), result)
        secondary = {
            "roi_predictions": {"rois": [[_roi(box) for box in result.boxes]]},
            "text_predictions": None,
        }
    return {
        "predictions": single,
        "multi_predictions": multi,
        "secondary_predictions": secondary,
        "result": as_json(prediction),
    }


def as_json(prediction: Prediction) -> dict[str, Any]:
    """The prediction, whole: task, confidence, outlier, and the result's own fields."""
    result = prediction.result
    own = dict(vars(result))  # dataclasses.asdict copies all that is in it, one by one
    if not isinstance(result, ClassResult):
        own["boxes"] = [dict(vars(box)) for box in result.boxes]
    if isinstance(result, BoxesResult):
        own["count"] = result.count
    head = {"task": prediction.task, "confidence": prediction.confidence}
    return {**head, "outlier": prediction.outlier, **own}


def _single(confidence: float, label: int, probability: float) -> dict[str, Any]:
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    return {
        "confidences": [confidence],
        "labels": [label],
        "probabilities": [probability],
        "scores": [math.log(bounded / (1 - bounded))],
    }


def _multi(probabilities: list[float], result: BoxesResult | None) -> dict[str, Any]:
    return {
        "probabilities": [probabilities],
        "rois": [[_roi(box) for box in result.boxes]] if result else None,
        "max_dropped_roi_scores": [result.dropped] if result else None,
    }


def _blended(result: ClassResult, outlier: float | None) -> list[float]:
    """Each class's probability, all lowered alike: they still add up to 1, the winner stays."""
    every = result.probabilities.values()
    return [lowered(p, outlier or 0.0, len(result.probabilities)) for p in every]


def _peak(place: int, confidence: float) -> list[float]:
    """`confidence` at `place`; nothing is known of the other counts."""
    return [*([0.0] * place), confidence]


def _roi(box: Box) -> dict[str, Any]:
    return {
        "label": box.label,
        "score": box.score,
        "geometry": {
            "left": box.left,
            "top": box.top,
            "right": box.right,
            "bottom": box.bottom,
            "x": (box.left + box.right) / 2,
            "y": (box.top + box.bottom) / 2,
        },
    }
