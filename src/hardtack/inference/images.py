"""Pictures from bytes: upright, RGB, eight bits, within limits."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hardtack.core.errors import PictureError

Picture = Image.Image
"""RGB, unpacked. It stays Pillow's until it is small: its way into NumPy and back is two copies."""
Pixels = NDArray[np.uint8]
"""[height, width, 3], RGB."""

# `max_pixels` decides; Pillow's own limit is a warning, which threads can't handle apart.
Image.MAX_IMAGE_PIXELS = None

MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
_SLOPPY = (IndexError, KeyError, OverflowError, TypeError, ZeroDivisionError)
"""What Pillow's readers let slip on damaged files."""
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The first frame of a JPEG, PNG, GIF, BMP, TIFF or WebP file.

    EXIF orientation is applied, transparency laid on white, sixteen bits reduced to eight.
    Raises PictureError; one of more than `max_pixels` is refused before it is unpacked.
    """
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        raise PictureError(
            "The picture is HEIC, which is not supported.", remedy="Send JPEG or PNG."
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _check_size(picture, max_pixels)
            ImageOps.exif_transpose(picture, in_place=True)
            upright = _rgb(picture)
            upright.load()
            return upright
    except UnidentifiedImageError:
        raise PictureError(
            f"The {len(data)} bytes are not a picture.", remedy=f"Send one of {', '.join(FORMATS)}."
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, *_SLOPPY) as error:
        raise PictureError(f"The picture is damaged: {error}.", remedy="Send it again.") from None


def _check_size(picture: Image.Image, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise PictureError(
            f"The picture has {width} × {height} pixels; at most {max_pixels} are allowed.",
            remedy="Send a smaller one.",
        )


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert(
            "RGB"
        )
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bits(samples: NDArray[np.generic]) -> Pixels:
    """Sixteen-bit samples (Pillow's I and I;16) → eight; floats are taken as 0 to 1."""
    if samples.dtype.kind == "f":
        return (np.nan_to_num(samples.astype(np.float64)).clip(0, 1) * 255).round().astype(np.uint8)
    return (samples.astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
