"""Whether a network puts out what its package declares, found out before anybody asks it."""

from __future__ import annotations

import math

import numpy as np

from hardtack.core.errors import ModelError
from hardtack.inference.model import Loaded, Model, demand_classes
from hardtack.inference.tasks import CLASSIFYING

_BLANK = np.zeros((32, 32, 3), np.uint8)


def check(model: Model) -> None:
    """Compare the classes of a model, and of its out-of-distribution model, with the output.

    The network says its shape, or else is run once on a blank picture. Raises ModelError.
    """
    for judged in (model, model.outliers):
        if judged is None:
            continue
        scores = _scores(judged.main)
        try:
            if scores and judged.package.task in CLASSIFYING:
                demand_classes(scores, len(judged.package.classes))
            elif not scores:
                judged.own(_BLANK)
        except ModelError as error:
            raise ModelError(
                f"{judged.package.directory}: {error.message}", remedy=error.remedy
            ) from None


def _scores(loaded: Loaded) -> int:
    """How many numbers the output has for one picture; 0 where that varies."""
    sides = loaded.output_shape[1:]
    return math.prod(sides) if sides and min(sides) > 0 else 0
