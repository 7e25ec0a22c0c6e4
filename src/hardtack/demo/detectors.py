"""The nine sample detectors: what each is asked, its model package, and a picture to ask about.

Four use PP-OCR's networks from PyPI's rapidocr-onnxruntime; five use the project's own small ones
in `models/` beside this file.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hardtack.demo import pictures
from hardtack.demo.bucket import find_weights
from hardtack.demo.ocr import DETECTOR, READER, TEXT
from hardtack.inference.package import FILE, Input, Network, Output
from hardtack.inference.writing import toml

TURNED = "ch_ppocr_mobile_v2.0_cls_infer.onnx"
_OWN = Path(__file__).parent / "models"
_HALF = (0.5,)
_FIND = Network(
    DETECTOR,
    Input(
        "x",
        fit="multiple",
        colour="bgr",
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
    ),
    Output("map", threshold=0.5, mask=0.3, margin=1.6),
)
_READ = Network(
    READER,
    Input("x", height=48, fit="height", colour="bgr", mean=_HALF, deviation=_HALF),
    Output("ctc"),
)
_TURN = Network(
    TURNED,
    Input("x", 192, 48, colour="bgr", mean=_HALF, deviation=_HALF),
    Output("probabilities"),
)


@dataclass(frozen=True)
class Sample:
    """A detector. `picture()` is a PNG file that shows `shows`: a class, a count, or a text."""

    name: str
    question: str
    task: str
    shows: str | int
    picture: Callable[[], bytes]
    classes: tuple[str, ...] = ()
    network: Network | None = None
    finder: Network | None = None

    @property
    def id(self) -> str:
        """`det_` and 27 letters and digits, the same on every machine."""
        return "det_" + self.name.replace("-", "").ljust(27, "0")

    def package(self, weights: dict[str, bytes]) -> dict[str, bytes]:
        """File → bytes of the model package; `weights` has PP-OCR's networks by file name."""
        if self.network is None:
            return {file: (_OWN / self.name / file).read_bytes() for file in (FILE, "model.onnx")}
        files = [part.file for part in (self.network, self.finder) if part is not None]
        bodies = {file: weights[file] for file in files}
        text = toml(self.task, self.classes, bodies, self.network, self.finder)
        return {FILE: text.encode(), **bodies}


def objects() -> dict[str, bytes]:
    """Key → body of the nine packages, as the bucket holds them. Raises ConfigError."""
    weights = {path.name: path.read_bytes() for path in find_weights()}
    return {
        f"models/{sample.id}/primary/1/{file}": body
        for sample in SAMPLES
        for file, body in sample.package(weights).items()
    }


def _label(*, upside_down: bool = False) -> Callable[[], bytes]:
    return lambda: pictures.png(pictures.label(TEXT, upside_down=upside_down))


def _stored(file: str) -> Callable[[], bytes]:
    return (_OWN / file).read_bytes


SAMPLES = (
    Sample(
        "text-boxes", "Where is text?", "boxes", len(TEXT), _label(),
        ("text",), _FIND,
    ),
    Sample(
        "text-lines", "How many lines of text are there?", "count", len(TEXT), _label(),
        ("line",), _FIND,
    ),
    Sample(
        "label", "What does the label say?", "text", "\n".join(TEXT), _label(),
        (), _READ, _FIND,
    ),
    Sample(
        "upside-down", "Is the label upside down?", "binary", "YES", _label(upside_down=True),
        ("NO", "YES"), _TURN, _FIND,
    ),
    Sample("digit", "Which digit is this?", "multiclass", "7", _stored("digit-7.png")),
    Sample("zero", "Is this digit a zero?", "binary", "YES", _stored("digit-0.png")),
    Sample(
        "focus", "Is the picture in focus?", "binary", "NO",
        lambda: pictures.png(pictures.scene(False, random.Random(7))),
    ),
    Sample(
        "shape", "Which shape is this?", "multiclass", "triangle",
        lambda: pictures.png(pictures.shape("triangle", random.Random(7))),
    ),
    Sample(
        "parts", "Where are the parts, and how many?", "boxes", 5,
        lambda: pictures.png(pictures.parts(5, random.Random(7))[0]),
    ),
)  # fmt: skip
