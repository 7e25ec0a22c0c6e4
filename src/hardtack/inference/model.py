"""A detector's model, loaded: from the bytes of a picture to a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hardtack.core.errors import ModelError
from hardtack.inference import ondisk, oodd, postprocess, preprocess, tasks
from hardtack.inference.batching import Batching, why_singly
from hardtack.inference.images import MAX_PIXELS, Picture, decode
from hardtack.inference.package import Network, Output, Package
from hardtack.inference.postprocess import Floats, Found
from hardtack.inference.preprocess import Placement
from hardtack.inference.runtime import Options, Session
from hardtack.inference.tasks import Box, ClassResult, Prediction, Result

_TRIAL = (Image.new("RGB", (32, 32)), Image.linear_gradient("L").resize((32, 32)).convert("RGB"))
"""Two pictures that differ."""
_IN_TURN = "the lines of a picture are run in turn, and each would wait"


class Loaded:
    """A network with its session, and its input and output found; `singly` says why pictures are
    run one by one although there is a window."""

    def __init__(self, path: Path, network: Network, options: Options, *, singly: str = "") -> None:
        """`singly`: why its pictures are not for a batch, where that doesn't lie in the network."""
        self.network = network
        self.session = Session(path, options)
        self._input = self.session.input_name(network.input.name)
        self._output = self.session.output_name(network.output.name)
        given = next(port for port in self.session.outputs if port.name == self._output)
        self.output_shape = given.shape
        self.batching: Batching | None = None
        self.singly = singly if options.window else ""
        if options.window and not singly:
            taken = next(port for port in self.session.inputs if port.name == self._input)
            trial = [preprocess.prepare(picture, network.input)[0] for picture in _TRIAL]
            self.singly = why_singly(self._run, taken, given, *trial)
            self.batching = None if self.singly else Batching(self._run, options.window)

    def __call__(self, picture: Picture) -> tuple[Floats, Placement]:
        """The output's first element, and where the picture lay on the input."""
        tensor, placement = preprocess.prepare(picture, self.network.input)
        output = (self.batching or self._run)(tensor)
        return output[0], placement

    def _run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        return self.session.run([self._output], {self._input: tensor})[0]


class Model:
    """What a package (and its out-of-distribution package) makes of pictures."""

    def __init__(
        self, primary: Package, outliers: Package | None = None, options: Options | None = None
    ) -> None:
        """Loads the weights. Raises ModelError, ConfigError."""
        options = options or Options()
        if primary.network is None:
            raise ModelError(
                f"{primary.directory} is served by another program: its runtime is command.",
                remedy="Name the program under `server` in the endpoint's file of detectors.",
            )
        self.package = primary
        self.main = Loaded(
            primary.path(primary.network), primary.network, options,
            singly=_IN_TURN if primary.finder else "",
        )  # fmt: skip
        self.finder = (
            Loaded(primary.path(primary.finder), primary.finder, options)
            if primary.finder
            else None
        )
        self.characters: Sequence[str] = ()
        if primary.network.output.decode == "ctc":
            self.characters = self.main.session.metadata.get("character", "").splitlines()
            if not self.characters:
                raise ModelError(
                    f"{self.main.session.path} doesn't say which characters it reads.",
                    remedy="Put them into its metadata under 'character', one a line.",
                )
        if outliers is not None and outliers.task != "binary":
            raise ModelError(
                f"{outliers.directory} has the task {outliers.task}; an out-of-distribution model "
                "is binary, YES for a picture unlike the training's."
            )
        self.outliers = Model(outliers, None, options) if outliers else None

    @property
    def networks(self) -> list[Loaded]:
        """All that it runs."""
        own = [loaded for loaded in (self.main, self.finder) if loaded]
        return own + (self.outliers.networks if self.outliers else [])

    def infer(self, data: bytes, max_pixels: int = MAX_PIXELS) -> Prediction:
        """The answer for an encoded picture. Raises PictureError, ModelError."""
        return self.judge(decode(data, max_pixels=max_pixels))

    def judge(self, picture: Picture) -> Prediction:
        """The answer for a decoded picture. Raises ModelError."""
        prediction = self.own(picture)
        if self.outliers is None:
            return prediction
        confidence, result = prediction.confidence, prediction.result
        outlier = _yes(self.outliers.judge(picture))
        guesses = len(self.package.classes) if isinstance(result, ClassResult) else 0
        lowered = oodd.lowered(confidence, outlier, guesses)
        return replace(prediction, confidence=lowered, outlier=outlier)

    def own(self, picture: Picture) -> Prediction:
        """The answer of the primary model alone. Raises ModelError."""
        result, confidence = self._answer(picture)
        return Prediction(self.package.task, confidence, result)

    def _answer(self, picture: Picture) -> tuple[Result, float]:
        task = self.package.task
        if task in ("count", "boxes"):
            found, dropped, placement = _boxes(self.main, picture)
            return tasks.located(_placed(found, self.package.classes, placement, picture), dropped)
        lines, dropped = self._lines(picture)
        pieces = [_crop(picture, line) for line in lines]
        if task == "text":
            read = [postprocess.ctc(self.main(piece)[0], self.characters) for piece in pieces]
            return tasks.texts(
                [(text.strip(), p, line) for (text, p), line in zip(read, lines, strict=True)],
                dropped,
            )
        classes = self.package.classes
        each = [
            class_probabilities(self.main(piece)[0], self.main.network.output, len(classes))
            for piece in pieces or [picture]
        ]
        return tasks.classified(classes, np.mean(each, axis=0))

    def _lines(self, picture: Picture) -> tuple[list[Box], float]:
        """The regions to judge, from top to bottom: the finder's, or the whole picture."""
        if self.finder is None:
            return [Box("", 1.0, 0.0, 0.0, 1.0, 1.0)], 0.0
        found, dropped, placement = _boxes(self.finder, picture)
        lines = _placed(found, ("line",), placement, picture)
        return sorted(lines, key=lambda line: (line.top, line.left)), dropped


def open_model(directory: Path, options: Options | None = None) -> Model:
    """The model in `directory` (package, versions, or a detector's directory), loaded.

    Raises ModelError, ConfigError.
    """
    primary, outliers = ondisk.locate(directory)
    return Model(primary, outliers, options)


def class_probabilities(scores: Floats, output: Output, classes: int) -> Floats:
    """The network's scores as one probability a class.

    One sigmoid score for two classes is the first one's. Raises ModelError.
    """
    flat: Floats = scores.reshape(-1).astype(np.float64)
    if output.decode == "softmax":
        flat = postprocess.softmax(flat)
    elif output.decode == "sigmoid":
        flat = postprocess.sigmoid(flat)
    demand_classes(len(flat), classes)
    return np.array([flat[0], 1 - flat[0]]) if len(flat) < classes else flat


def demand_classes(scores: int, classes: int) -> None:
    """Raise ModelError unless so many scores are those of so many classes."""
    if scores != classes and (scores, classes) != (1, 2):
        raise ModelError(
            f"The network puts out {scores} scores, model.toml names {classes} classes.",
            remedy="Name each class in the order of the output.",
        )


def _boxes(loaded: Loaded, picture: Picture) -> tuple[list[Found], float, Placement]:
    """Boxes on the canvas, the best dropped score, and where the picture lies."""
    scores, placement = loaded(picture)
    output = loaded.network.output
    if output.decode == "yolo":
        # Candidates under a tenth of the threshold are noise, by the thousand.
        found = postprocess.yolo_boxes(scores, output.threshold / 10)
        found = postprocess.suppress(found, output.overlap)
    else:
        heat = scores.reshape(scores.shape[-2:])
        found = postprocess.map_boxes(heat, output.mask, output.margin, output.min_side)
    kept, dropped = postprocess.split(found, output.threshold)
    return kept, dropped, placement


def _placed(
    found: Sequence[Found], classes: Sequence[str], placement: Placement, picture: Picture
) -> list[Box]:
    width, height = picture.size
    if any(box.kind >= len(classes) for box in found):
        raise ModelError(
            f"The network knows more classes than the {len(classes)} that model.toml names."
        )
    return [tasks.on_picture(box, classes[box.kind], placement, width, height) for box in found]


def _crop(picture: Picture, box: Box) -> Picture:
    """The part of the picture in `box`, at least one pixel."""
    width, height = picture.size
    left, top = min(int(box.left * width), width - 1), min(int(box.top * height), height - 1)
    right = min(max(left + 1, round(box.right * width)), width)
    bottom = min(max(top + 1, round(box.bottom * height)), height)
    whole = (0, 0, width, height)
    return picture if (part := (left, top, right, bottom)) == whole else picture.crop(part)


def _yes(prediction: Prediction) -> float:
    assert isinstance(prediction.result, ClassResult)
    return prediction.result.probabilities["YES"]
