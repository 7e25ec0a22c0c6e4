"""Model packages: what a `model.toml` says. Format: docs/formats/model-package.md."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hardtack.core.errors import ModelError
from hardtack.inference.tables import Table

FORMAT = 1
FILE = "model.toml"
TASKS = ("binary", "multiclass", "count", "boxes", "text")
RUNTIMES = ("onnx", "command")
COLOURS = ("rgb", "bgr", "grey")
FITS = ("stretch", "letterbox", "multiple", "height")
LAYOUTS = ("nchw", "nhwc")
DECODERS = {
    "binary": ("softmax", "sigmoid", "probabilities"),
    "multiclass": ("softmax", "sigmoid", "probabilities"),
    "count": ("map", "yolo"),
    "boxes": ("map", "yolo"),
    "text": ("ctc",),
}
"""Task → what its network's output can be decoded as."""


@dataclass(frozen=True)
class Weights:
    """A file of the package, its size in bytes, and its SHA-256 in hex, or empty."""

    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Input:
    """How a picture becomes the tensor `name`: (pixel / `scale` - `mean`) / `deviation`.

    `fit`: stretch to width × height; letterbox into it; keep the size, shrunk to `max_side`, on a
    canvas whose sides are multiples of `multiple`; or scale to `height`, the width following.
    """

    name: str = ""
    width: int = 0
    height: int = 0
    fit: str = "stretch"
    colour: str = "rgb"
    layout: str = "nchw"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    multiple: int = 32
    max_side: int = 960


@dataclass(frozen=True)
class Output:
    """How the tensor `name` becomes an answer.

    Boxes that score less than `threshold` are dropped; a pixel of a map counts from `mask` on;
    boxes of a map grow by `margin` × area / perimeter and are at least `min_side` pixels; of two
    boxes that overlap by more than `overlap` (intersection over union) the better stays.
    """

    decode: str
    name: str = ""
    threshold: float = 0.5
    mask: float = 0.3
    margin: float = 0.0
    min_side: int = 3
    overlap: float = 0.5


@dataclass(frozen=True)
class Network:
    file: str
    input: Input
    output: Output


@dataclass(frozen=True)
class Golden:
    """A picture of the package and what its model must say of it: a class, a text, or how many
    boxes; with a confidence, if one is given, that may differ by `tolerance`."""

    picture: Weights
    answer: str | int
    confidence: float | None = None
    tolerance: float = 0.1

    def difference(self, answer: str | int, confidence: float) -> str:
        """How an answer differs from what is expected; empty where it doesn't."""
        if answer != self.answer:
            return f"expected {self.answer!r}, it says {answer!r}"
        expected = self.confidence
        if expected is not None and abs(confidence - expected) > self.tolerance:
            return f"expected a confidence of {expected:.3f} ± {self.tolerance}, it has " + (
                f"{confidence:.3f}"
            )
        return ""


@dataclass(frozen=True)
class Package:
    """What `model.toml` says. `finder`, if any, finds the lines of text that `network` judges.

    With the runtime `command` another program serves the model, and there is no `network`.
    """

    directory: Path
    task: str
    classes: tuple[str, ...]
    weights: tuple[Weights, ...]
    network: Network | None
    finder: Network | None = None
    golden: Golden | None = None
    text: str = field(default="", repr=False)

    @property
    def files(self) -> tuple[Weights, ...]:
        """Every file that makes the package whole."""
        return (*self.weights, self.golden.picture) if self.golden else self.weights

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(part.size for part in self.files)

    @property
    def version(self) -> str:
        return self.directory.name

    @property
    def name(self) -> str:
        """The detector's id in `<id>/primary/<version>`; elsewhere the directory's name."""
        role = self.directory.resolve().parent
        return role.parent.name if role.name in ("primary", "oodd") else self.directory.name

    def path(self, network: Network) -> Path:
        return self.directory / network.file


def parse(text: str, directory: Path) -> Package:
    """The package that `model.toml`'s `text` describes. Raises ModelError."""
    origin = str(directory / FILE)
    try:
        table = Table(tomllib.loads(text), origin)
    except tomllib.TOMLDecodeError as error:
        raise ModelError(f"{origin} is not TOML: {error}.") from None
    version = table.take("format", int)
    if version != FORMAT:
        raise ModelError(
            f"{origin} has format {version}; this hardtack knows format {FORMAT}.",
            remedy="Upgrade hardtack, or write the package anew with: hardtack model new.",
        )
    runtime = table.choice("runtime", RUNTIMES, "onnx")
    task = table.choice("task", TASKS)
    classes = _classes(table, task)
    weights = tuple(_weights(entry) for entry in table.tables("weights"))
    network = finder = None
    if runtime == "onnx":
        network = _network(table.table("network"), DECODERS[task], weights)
    if table.has("finder") and network is not None:
        if task not in ("binary", "text"):
            raise table.error("finder", f"is for the tasks binary and text, not {task}")
        finder = _network(table.table("finder"), ("map",), weights)
    golden = _golden(table.table("golden"), task, classes) if table.has("golden") else None
    table.done()
    return Package(directory, task, classes, weights, network, finder, golden, text)


def _classes(table: Table, task: str) -> tuple[str, ...]:
    classes = table.strings("classes", [] if task == "text" else None)
    if len(set(classes)) != len(classes):
        raise table.error("classes", "names a class twice")
    if task == "binary" and set(classes) != {"YES", "NO"}:
        raise table.error("classes", 'must be "YES" and "NO", in the order of the output')
    if task == "multiclass" and len(classes) < 2:
        raise table.error("classes", "must name two classes or more")
    if task in ("count", "boxes") and not classes:
        raise table.error("classes", "must name what the boxes show")
    return classes


def _golden(table: Table, task: str, classes: tuple[str, ...]) -> Golden:
    answer: str | int
    if task in ("count", "boxes"):
        answer = table.take("answer", int)
    elif task == "text":
        answer = table.take("answer", str)
    else:
        answer = table.choice("answer", classes)
    confidence = table.take("confidence", float) if table.has("confidence") else None
    tolerance = table.take("tolerance", float, Golden.tolerance)
    if not 0 <= (confidence or 0.0) <= 1 or not 0 <= tolerance <= 1:
        raise table.error("confidence", "and tolerance must be between 0 and 1")
    return Golden(_weights(table), answer, confidence, tolerance)


def _weights(table: Table) -> Weights:
    file = table.take("file", str)
    if not file or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise table.error("file", f"is {file!r}, not a path inside the package")
    size = table.take("size", int)
    sha256 = table.take("sha256", str, "")
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise table.error("sha256", "must be 64 lower-case hex digits")
    table.done()
    return Weights(file, size, sha256)


def _network(table: Table, decoders: tuple[str, ...], weights: tuple[Weights, ...]) -> Network:
    file = table.take("file", str)
    if file not in [entry.file for entry in weights]:
        raise table.error("file", f"is {file!r}, which no [[weights]] names")
    network = Network(file, _input(table.table("input")), _output(table.table("output"), decoders))
    table.done()
    return network


def _input(table: Table) -> Input:
    colour = table.choice("colour", COLOURS, Input.colour)
    fit = table.choice("fit", FITS, Input.fit)
    result = Input(
        name=table.take("name", str, Input.name),
        width=table.take("width", int, None if fit in ("stretch", "letterbox") else 0),
        height=table.take("height", int, 0 if fit == "multiple" else None),
        fit=fit,
        colour=colour,
        layout=table.choice("layout", LAYOUTS, Input.layout),
        scale=table.take("scale", float, Input.scale),
        mean=table.numbers("mean", Input.mean),
        deviation=table.numbers("deviation", Input.deviation),
        multiple=table.take("multiple", int, Input.multiple),
        max_side=table.take("max_side", int, Input.max_side),
    )
    for key in ("width", "height", "multiple", "max_side"):
        if not 0 <= getattr(result, key) <= 8192:
            raise table.error(key, "must be between 1 and 8192")
    if result.scale <= 0 or min(result.deviation) <= 0 or result.multiple < 1:
        raise table.error("scale", "deviation and multiple must be above zero")
    channels = 1 if colour == "grey" else 3
    for key in ("mean", "deviation"):
        if len(getattr(result, key)) not in (1, channels):
            raise table.error(key, f"must have 1 or {channels} numbers")
    table.done()
    return result


def _output(table: Table, decoders: tuple[str, ...]) -> Output:
    result = Output(
        name=table.take("name", str, Output.name),
        decode=table.choice("decode", decoders),
        threshold=table.take("threshold", float, Output.threshold),
        mask=table.take("mask", float, Output.mask),
        margin=table.take("margin", float, Output.margin),
        min_side=table.take("min_side", int, Output.min_side),
        overlap=table.take("overlap", float, Output.overlap),
    )
    for key in ("threshold", "mask", "overlap"):
        if not 0 <= getattr(result, key) <= 1:
            raise table.error(key, "must be between 0 and 1")
    table.done()
    return result
