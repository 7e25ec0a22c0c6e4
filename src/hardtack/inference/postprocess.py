"""From what a network puts out to probabilities, boxes and text. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Found:
    """A box on the canvas, in pixels; `kind` is the number of its class."""

    left: float
    top: float
    right: float
    bottom: float
    score: float
    kind: int = 0


def softmax(scores: Floats) -> Floats:
    """[classes] of logits → probabilities that add up to 1."""
    powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def sigmoid(scores: Floats) -> Floats:
    """Logits → probabilities, each for itself; no overflow for large ones."""
    return np.asarray(np.exp(-np.logaddexp(0, -scores.astype(np.float64))))


def overlap(one: Found, other: Found) -> float:
    """Intersection over union."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(0.0, width) * max(0.0, height)
    union = _area(one) + _area(other) - both
    return both / union if union else 0.0


def suppress(boxes: Sequence[Found], limit: float) -> list[Found]:
    """Non-maximum suppression within each class; best first."""
    kept: list[Found] = []
    for box in sorted(boxes, key=lambda found: -found.score):
        if all(box.kind != other.kind or overlap(box, other) <= limit for other in kept):
            kept.append(box)
    return kept


def yolo_boxes(rows: Floats, floor: float) -> list[Found]:
    """[4 + classes, candidates]: centre x, y, width, height, then a score for each class."""
    scores = rows[4:].max(axis=0)
    kinds = rows[4:].argmax(axis=0)
    return [
        Found(x - w / 2, y - h / 2, x + w / 2, y + h / 2, float(scores[n]), int(kinds[n]))
        for n in np.flatnonzero(scores >= floor)
        for x, y, w, h in [map(float, rows[:4, n])]
    ]


def map_boxes(heat: Floats, mask: float, margin: float, min_side: int) -> list[Found]:
    """Boxes around the connected parts of a map [height, width] in which a pixel is ≥ `mask`.

    The score is the mean over the part. As DB networks (Liao et al. 2019) shrink what they mark,
    each side moves outwards by `margin` × area / perimeter.
    """
    height, width = heat.shape
    boxes = []
    for runs in _parts(heat >= mask):
        rows, starts, ends = zip(*runs, strict=True)
        left, right, top, bottom = min(starts), max(ends), min(rows), max(rows) + 1
        if min(right - left, bottom - top) < min_side:
            continue
        total = sum(float(heat[row, start:end].sum()) for row, start, end in runs)
        score = total / sum(end - start for _, start, end in runs)
        grown = margin * (right - left) * (bottom - top) / (2 * (right - left + bottom - top))
        boxes.append(
            Found(
                max(0.0, left - grown),
                max(0.0, top - grown),
                min(float(width), right + grown),
                min(float(height), bottom + grown),
                score,
            )
        )
    return boxes


def split(boxes: Sequence[Found], threshold: float) -> tuple[list[Found], float]:
    """The boxes that score enough, and the best score of those that don't (0 when none)."""
    dropped = [box.score for box in boxes if box.score < threshold]
    return [box for box in boxes if box.score >= threshold], max(dropped, default=0.0)


def ctc(probabilities: Floats, characters: Sequence[str]) -> tuple[str, float]:
    """Greedy CTC (Graves et al. 2006): [time, classes] → text and the mean of its characters'
    probabilities (0 when there are none). Class 0 is the blank; the class after the last
    character is a space.
    """
    best = probabilities.argmax(axis=1)
    kept = [n for n, kind in enumerate(best) if kind and (n == 0 or kind != best[n - 1])]
    text = "".join(characters[best[n] - 1] if best[n] <= len(characters) else " " for n in kept)
    confidence = float(np.mean([probabilities[n, best[n]] for n in kept])) if kept else 0.0
    return text, confidence


def _area(box: Found) -> float:
    return max(0.0, box.right - box.left) * max(0.0, box.bottom - box.top)


def _parts(mask: NDArray[np.bool_]) -> list[list[tuple[int, int, int]]]:
    """The connected parts (by edge or corner) of a mask, each as runs (row, start, end)."""
    runs: list[tuple[int, int, int]] = []
    parent: list[int] = []
    above: list[int] = []
    for row in np.flatnonzero(mask.any(axis=1)):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], mask[row], [False]])))
        here = []
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            number = len(runs)
            runs.append((int(row), start, end))
            parent.append(number)
            here.append(number)
            for other in above:
                before, first, last = runs[other]
                if before == row - 1 and first <= end and start <= last:
                    parent[_root(parent, other)] = _root(parent, number)
        above = here
    parts: dict[int, list[tuple[int, int, int]]] = {}
    for number, run in enumerate(runs):
        parts.setdefault(_root(parent, number), []).append(run)
    return list(parts.values())


def _root(parent: list[int], number: int) -> int:
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number
