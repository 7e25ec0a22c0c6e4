"""From a picture to what a network takes in. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hardtack.inference.images import Picture, Pixels
from hardtack.inference.package import Input

Tensor = NDArray[np.float32]
_GREY = 114  # the canvas that YOLO networks are trained on


@dataclass(frozen=True)
class Placement:
    """Where the picture lies on the canvas: canvas = picture × scale + offset, in pixels."""

    scale_x: float
    scale_y: float
    left: int = 0
    top: int = 0


def resize(picture: Picture, width: int, height: int) -> Pixels:
    """→ [height, width, 3], bilinear, averaging where it shrinks."""
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def stretch(picture: Picture, width: int, height: int) -> tuple[Pixels, Placement]:
    """The picture scaled to width × height, its proportions given up."""
    placement = Placement(width / picture.width, height / picture.height)
    return resize(picture, width, height), placement


def letterbox(picture: Picture, width: int, height: int) -> tuple[Pixels, Placement]:
    """The whole picture in proportion, centred on a grey canvas of width × height."""
    scale = min(width / picture.width, height / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = resize(picture, *inner)
    placement = Placement(inner[0] / picture.width, inner[1] / picture.height, left, top)
    return canvas, placement


def pad_to_multiple(picture: Picture, multiple: int, max_side: int) -> tuple[Pixels, Placement]:
    """The picture, no side over `max_side`, top left on a black canvas of multiples."""
    scale = min(1.0, max_side / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    canvas = np.zeros((_up(height, multiple), _up(width, multiple), 3), np.uint8)
    canvas[:height, :width] = resize(picture, width, height)
    return canvas, Placement(width / picture.width, height / picture.height)


def to_height(picture: Picture, height: int, max_width: int) -> tuple[Pixels, Placement]:
    """The picture in proportion at `height`, at most `max_width` wide."""
    width = min(max_width, max(1, round(picture.width * height / picture.height)))
    return stretch(picture, width, height)


def colours(image: Pixels, colour: str) -> Pixels:
    """[H, W, 3] RGB → [H, W, 3] for rgb and bgr, [H, W, 1] for grey (ITU-R 601 luma)."""
    if colour == "grey":
        return np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    return image if colour == "rgb" else image[:, :, ::-1]


def normalise(
    image: Pixels, scale: float, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Tensor:
    """(pixel / scale - mean) / deviation, for each channel."""
    shifted = image.astype(np.float32) / np.float32(scale) - np.asarray(mean, np.float32)
    return np.asarray(shifted / np.asarray(deviation, np.float32), np.float32)


def layout(image: Tensor, order: str) -> Tensor:
    """[H, W, C] → [1, C, H, W] (nchw) or [1, H, W, C] (nhwc)."""
    return np.ascontiguousarray((image.transpose(2, 0, 1) if order == "nchw" else image)[None])


def prepare(picture: Picture, wanted: Input) -> tuple[Tensor, Placement]:
    """The tensor that `wanted` describes, and where the picture lies on it."""
    if wanted.fit == "stretch":
        canvas, placement = stretch(picture, wanted.width, wanted.height)
    elif wanted.fit == "letterbox":
        canvas, placement = letterbox(picture, wanted.width, wanted.height)
    elif wanted.fit == "multiple":
        canvas, placement = pad_to_multiple(picture, wanted.multiple, wanted.max_side)
    else:
        canvas, placement = to_height(picture, wanted.height, wanted.width or 8192)
    pixels = colours(canvas, wanted.colour)
    tensor = normalise(pixels, wanted.scale, wanted.mean, wanted.deviation)
    return layout(tensor, wanted.layout), placement


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
