"""What a detector answers, for each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardtack.inference.postprocess import Floats, Found
from hardtack.inference.preprocess import Placement

CLASSIFYING = ("binary", "multiclass")
"""The tasks whose network puts out one score a class."""


@dataclass(frozen=True)
class Box:
    """A region of the picture, in fractions of its width and height."""

    label: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class ClassResult:
    """binary, multiclass: the likeliest class, and each class's probability."""

    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class BoxesResult:
    """count, boxes: what was found, and the best score of what was dropped."""

    boxes: tuple[Box, ...]
    dropped: float

    @property
    def count(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class TextResult:
    """text: the lines from top to bottom, joined by newlines, and where they are."""

    text: str
    boxes: tuple[Box, ...]


Result = ClassResult | BoxesResult | TextResult


@dataclass(frozen=True)
class Prediction:
    """An answer. `confidence` is the final one; `outlier` None where no model judges that."""

    task: str
    confidence: float
    result: Result
    outlier: float | None = None


def classified(classes: Sequence[str], probabilities: Floats) -> tuple[ClassResult, float]:
    """The result and its confidence, the winner's probability."""
    by_class = {name: float(p) for name, p in zip(classes, probabilities, strict=True)}
    label = max(by_class, key=lambda name: by_class[name])
    return ClassResult(label, by_class), by_class[label]


def located(boxes: Sequence[Box], dropped: float) -> tuple[BoxesResult, float]:
    """The result and its confidence: the least certain box, less what might have been one."""
    result = BoxesResult(tuple(boxes), dropped)
    return result, min((box.score for box in boxes), default=1.0) * (1 - dropped)


def texts(lines: Sequence[tuple[str, float, Box]], dropped: float) -> tuple[TextResult, float]:
    """The result and its confidence: the least certain line, less a line that was dropped."""
    read = [line for line in lines if line[0]]
    text = "\n".join(words for words, _, _ in read)
    confidence = min((certainty for _, certainty, _ in read), default=1.0) * (1 - dropped)
    return TextResult(text, tuple(box for _, _, box in read)), confidence


def on_picture(found: Found, label: str, placement: Placement, width: int, height: int) -> Box:
    """A box of the canvas as fractions of the picture that lies on it."""

    def fraction(value: float, offset: int, scale: float, side: int) -> float:
        return min(1.0, max(0.0, (value - offset) / scale / side))

    return Box(
        label,
        found.score,
        fraction(found.left, placement.left, placement.scale_x, width),
        fraction(found.top, placement.top, placement.scale_y, height),
        fraction(found.right, placement.left, placement.scale_x, width),
        fraction(found.bottom, placement.top, placement.scale_y, height),
    )
