"""Out-of-distribution detection: a picture unlike the training's makes the answer less certain."""

from __future__ import annotations


def lowered(confidence: float, outlier: float, classes: int) -> float:
    """`confidence` when the picture is an outlier with probability `outlier`.

    An outlier's answer is a guess: one in `classes`, or certainly wrong for boxes and text
    (`classes` 0). As edge-endpoint does it.
    """
    guess = 1 / classes if classes else 0.0
    return outlier * guess + (1 - outlier) * confidence
