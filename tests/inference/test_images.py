"""Pictures that people and attackers send."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hardtack.core.errors import PictureError
from hardtack.inference.images import Pixels
from hardtack.inference.images import decode as unpacked


def decode(data: bytes) -> Pixels:
    """The picture's pixels, as a network's preprocessing comes by them."""
    return np.asarray(unpacked(data))


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def halves() -> Image.Image:
    """16 × 8: red on the left, blue on the right."""
    picture = Image.new("RGB", (16, 8), "red")
    picture.paste("blue", (8, 0, 16, 8))
    return picture


def huge_png(side: int) -> bytes:
    """The head of a PNG of side × side pixels; a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels(form: str) -> None:
    lossless = {"lossless": True} if form == "WEBP" else {}
    pixels = decode(encoded(halves(), form, **lossless))
    assert pixels.shape == (8, 16, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[0, 15].tolist() == [0, 0, 255]


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG"])
def test_a_picture_outlives_its_bytes(form: str) -> None:
    """Whatever is done with it later, nothing is read from its file any more."""
    picture = unpacked(encoded(halves(), form))
    assert picture.resize((4, 2)).crop((0, 0, 2, 2)).size == (2, 2)
    assert picture.convert("L").size == (16, 8)


def test_exif_orientation_turns_the_picture_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter clockwise
    pixels = decode(encoded(halves(), "PNG", exif=exif))
    assert pixels.shape == (16, 8, 3)
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[15, 0].tolist() == [0, 0, 255]


def test_cmyk_becomes_rgb() -> None:
    pixels = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    red, green, blue = pixels[4, 4].tolist()
    assert red > 200 and green < 60 and blue < 60


def test_sixteen_bits_become_eight() -> None:
    samples = np.array([[0, 0x8000, 0xFFFF]], np.uint16)
    pixels = decode(encoded(Image.fromarray(samples), "PNG"))
    assert pixels[0, :, 0].tolist() == [0, 128, 255]


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[4, 4].tolist() == [255, 0, 0]


def test_transparency_lies_on_white() -> None:
    assert decode(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)), "PNG"))[0, 0].tolist() == [
        255,
        255,
        255,
    ]


def test_a_truncated_jpeg_is_damaged() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    with pytest.raises(PictureError, match="damaged"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"not a picture", b"%PDF-1.7", bytes(1000)])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(PictureError, match="not a picture"):
        decode(data)


def test_heic_is_named() -> None:
    with pytest.raises(PictureError, match="HEIC"):
        decode(b"\x00\x00\x00\x18ftypheic" + bytes(100))


def test_a_bomb_is_refused_by_its_head() -> None:
    with pytest.raises(PictureError, match="10000 × 10000 pixels"):
        decode(huge_png(10_000))
    with pytest.raises(PictureError, match="pixels"):
        decode(huge_png(60_000))


def test_the_limit_is_the_callers() -> None:
    data = encoded(halves(), "PNG")
    assert unpacked(data, max_pixels=128).size == (16, 8)
    with pytest.raises(PictureError, match="at most 127"):
        unpacked(data, max_pixels=127)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF", "JPEG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_is_a_picture_error_or_a_picture(form: str) -> None:
    chance = random.Random(form)
    whole = encoded(halves(), form)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert unpacked(bytes(data), max_pixels=100_000).mode == "RGB"
        except PictureError as error:
            assert error.message
