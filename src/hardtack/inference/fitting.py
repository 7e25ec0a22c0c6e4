"""Whether a network puts out what its package declares, found out before anybody asks it."""

from __future__ import annotations

import math

from PIL import Image

from hardtack.core.errors import ModelError
from hardtack.inference.model import Loaded, Model, demand_classes
from hardtack.inference.tasks import CLASSIFYING

_CORNERS = 4  # rows of a YOLO output before the classes' own: x, y, width, height
_BLANK = Image.new("RGB", (32, 32))


def check(model: Model) -> None:
    """Compare the classes of a model, and of its out-of-distribution model, with the output.

    The network says its shape, or else is run once on a blank picture. Raises ModelError.
    """
    for judged in (model, model.outliers):
        if judged is None:
            continue
        scores = _scores(judged.main)
        try:
            _demand_kinds(judged)
            _demand_maps(judged)
            _demand_characters(judged)
            if scores and judged.package.task in CLASSIFYING:
                demand_classes(scores, len(judged.package.classes))
            elif not scores:
                judged.own(_BLANK)
        except ModelError as error:
            raise ModelError(
                f"{judged.package.directory}: {error.message}", remedy=error.remedy
            ) from None


def _demand_kinds(model: Model) -> None:
    """Raise ModelError unless YOLO's rows, where their number is fixed, are those of the classes:
    a blank picture has no box that would show it."""
    shape, named = model.main.output_shape, len(model.package.classes)
    if model.main.network.output.decode != "yolo" or len(shape) != 3 or shape[1] <= 0:
        return
    if (scores := shape[1] - _CORNERS) != named:
        raise ModelError(
            f"The network puts out {scores} scores a box, model.toml names {named} classes.",
            remedy="Name each class in the order of the output.",
        )


def _demand_maps(model: Model) -> None:
    """Raise ModelError unless what puts out a map puts out one, of the one class that is named."""
    for loaded in (model.main, model.finder):
        if loaded is None or loaded.network.output.decode != "map" or not loaded.output_shape:
            continue
        maps = math.prod(side for side in loaded.output_shape[1:-2] if side > 0)
        if len(loaded.output_shape) < 3 or maps != 1:
            raise ModelError(
                f"{loaded.session.path} puts out {_shape(loaded)}, not one map of height × width.",
                remedy="Name the output that is one, or decode it by yolo.",
            )
    if model.main.network.output.decode == "map" and len(model.package.classes) != 1:
        raise ModelError(
            f"A map shows one class, model.toml names {len(model.package.classes)}.",
            remedy="Name the one that it marks.",
        )


def _demand_characters(model: Model) -> None:
    """Raise ModelError unless a reader's scores, where their number is fixed, are those of a blank,
    of each character that it names, and maybe of a space."""
    shape, named = model.main.output_shape, len(model.characters)
    if model.main.network.output.decode != "ctc" or not shape or shape[-1] <= 0:
        return
    if len(shape) != 3 or shape[2] - named not in (1, 2):
        raise ModelError(
            f"{model.main.session.path} puts out {_shape(model.main)} and names {named} "
            f"characters; expected [1, time, {named + 1}], or {named + 2} with a space.",
            remedy="Put the characters that it was trained with into its metadata, in their order.",
        )


def _shape(loaded: Loaded) -> str:
    return f"[{', '.join(str(side) if side > 0 else '?' for side in loaded.output_shape)}]"


def _scores(loaded: Loaded) -> int:
    """How many numbers the output has for one picture; 0 where that varies."""
    sides = loaded.output_shape[1:]
    return math.prod(sides) if sides and min(sides) > 0 else 0
