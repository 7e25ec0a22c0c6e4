"""Pictures for the sample detectors, drawn from a seed, each with what it shows."""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 128
SHAPES = ("circle", "square", "triangle")


@dataclass(frozen=True)
class Disc:
    """A part: its centre and radius in pixels."""

    x: float
    y: float
    radius: float


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def shape(kind: str, chance: random.Random) -> Image.Image:
    """One dark shape of SHAPES on a light ground, of any size, place and turn."""
    picture, pen, ink = _sheet(chance)
    radius = chance.uniform(28, 52)
    x, y = (chance.uniform(radius + 4, SIDE - radius - 4) for _ in range(2))
    if kind == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    else:
        corners, turn = (4 if kind == "square" else 3), chance.uniform(0, math.tau)
        angles = [turn + math.tau * n / corners for n in range(corners)]
        points = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
        pen.polygon(points, fill=ink)
    return _softened(picture)


def parts(count: int, chance: random.Random) -> tuple[Image.Image, list[Disc]]:
    """`count` (at most 9) dark discs that don't touch, among thin scratches."""
    picture, pen, ink = _sheet(chance)
    for _ in range(chance.randrange(4)):
        pen.line([chance.uniform(0, SIDE) for _ in range(4)], fill=ink, width=2)
    cells = chance.sample(range(9), count)
    discs = []
    for cell in cells:
        radius = chance.uniform(9, 14)
        x, y = (42 * place + 22 + chance.uniform(-4, 4) for place in (cell % 3, cell // 3))
        disc = Disc(x, y, radius)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
        discs.append(disc)
    return _softened(picture), discs


def scene(sharp: bool, chance: random.Random) -> Image.Image:
    """Shapes and words, in focus or blurred."""
    picture, pen, ink = _sheet(chance)
    for _ in range(chance.randrange(3, 7)):
        x, y, w, h = (chance.uniform(8, 96) for _ in range(4))
        tone = (chance.randrange(256),) * 3
        draw = chance.choice((pen.rectangle, pen.ellipse))
        draw((x, y, x + w / 2, y + h / 2), fill=tone)
    word = "".join(chance.choices("ABCDEFGHKLMNPRSTUVXYZ0123456789", k=6))
    place = (chance.uniform(4, 40), chance.uniform(4, 100))
    pen.text(place, word, fill=ink, font=ImageFont.load_default(size=chance.uniform(14, 24)))
    blur = chance.uniform(0, 0.4) if sharp else chance.uniform(1.8, 5)
    return picture.filter(ImageFilter.GaussianBlur(blur))


def label(lines: tuple[str, ...], *, upside_down: bool = False) -> Image.Image:
    """A white label with dark lines of text."""
    picture = Image.new("RGB", (640, 64 + 96 * len(lines)), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=56)
    for number, line in enumerate(lines):
        pen.text((40, 40 + 96 * number), line, fill=(20, 20, 40), font=font)
    return picture.rotate(180) if upside_down else picture


def _sheet(chance: random.Random) -> tuple[Image.Image, ImageDraw.ImageDraw, tuple[int, int, int]]:
    """A light sheet, a pen for it, and a dark ink."""
    ground = (chance.randrange(185, 256),) * 3
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    ink = chance.randrange(0, 70)
    return picture, ImageDraw.Draw(picture), (ink, ink, ink)


def _softened(picture: Image.Image) -> Image.Image:
    """Edges softened a little, as a camera's are."""
    return picture.filter(ImageFilter.GaussianBlur(0.6))
