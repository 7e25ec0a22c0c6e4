"""Trains the sample detectors' small networks and writes their packages with model cards.

    python -m training.train [DIRECTORY]        (needs the groups `training` and `demo`)

Everything is drawn from fixed seeds. The accuracy on a card is measured on pictures held out, sent
as PNG files through the same code that answers on the box.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from hardtack.demo import pictures
from hardtack.inference.images import decode
from hardtack.inference.model import Model, open_model
from hardtack.inference.package import FILE, Input, Network, Output
from hardtack.inference.preprocess import prepare
from hardtack.inference.tasks import BoxesResult, ClassResult
from hardtack.inference.writing import toml
from training import networks

HOME = Path(__file__).parent.parent / "src" / "hardtack" / "demo" / "models"
WEIGHTS = "model.onnx"
HELD_OUT_SEED = 2_000_000
DIGIT = Input(networks.INPUT, 8, 8, colour="grey", scale=255.0)
SHAPE = Input(networks.INPUT, 24, 24, colour="grey", mean=(0.5,), deviation=(0.5,))
SCENE = Input(networks.INPUT, 128, 128, colour="grey")
PARTS = Input(networks.INPUT, 64, 64, colour="grey", mean=(0.5,), deviation=(0.5,))
PATCH = 11

Example = tuple[bytes, Any]
"""A picture as a PNG file, and what it shows."""


@dataclass(frozen=True)
class Sample:
    """A network to write: what it is asked, how it answers, and pictures to judge it by."""

    name: str
    question: str
    task: str
    classes: tuple[str, ...]
    weights: bytes
    input: Input
    output: Output
    held_out: Sequence[Example]
    data: str
    right: Callable[[Model, bytes, Any], bool]


def digit_pictures() -> tuple[list[Example], list[Example]]:
    """scikit-learn's handwritten digits as pictures of 64 × 64: to learn from, and held out."""
    digits = load_digits()
    levels = (digits.images / 16 * 255).round().astype(np.uint8)
    examples = [
        (pictures.png(Image.fromarray(level).resize((64, 64), Image.Resampling.NEAREST)), int(kind))
        for level, kind in zip(levels, digits.target, strict=True)
    ]
    learn, held_out = train_test_split(
        examples, test_size=0.25, random_state=1, stratify=digits.target
    )
    return learn, held_out


def shape_pictures(count: int, seed: int) -> list[Example]:
    chance = random.Random(seed)
    kinds = [pictures.SHAPES[n % 3] for n in range(count)]
    return [(pictures.png(pictures.shape(kind, chance)), kind) for kind in kinds]


def scene_pictures(count: int, seed: int) -> list[Example]:
    chance = random.Random(seed)
    kinds = [n % 2 == 0 for n in range(count)]
    return [(pictures.png(pictures.scene(k, chance)), "YES" if k else "NO") for k in kinds]


def part_pictures(count: int, seed: int) -> list[Example]:
    chance = random.Random(seed)
    drawn = [pictures.parts(n % 10, chance) for n in range(count)]
    return [(pictures.png(picture), discs) for picture, discs in drawn]


def tensors(examples: Sequence[Example], wanted: Input) -> Any:
    """[examples, height × width]: the pictures as the network will see them."""
    return np.stack([prepare(decode(data), wanted)[0].reshape(-1) for data, _ in examples])


def digit(learn: list[Example], held_out: list[Example]) -> Sample:
    fitted = MLPClassifier((64,), alpha=1e-2, max_iter=300, random_state=1)
    fitted.fit(tensors(learn, DIGIT), [kind for _, kind in learn])
    return Sample(
        "digit", "Which digit is this?", "multiclass", tuple("0123456789"),
        networks.perceptron(fitted.coefs_, fitted.intercepts_, 8, 8), DIGIT,
        Output("softmax", networks.OUTPUT), [(d, str(k)) for d, k in held_out],
        "scikit-learn's bundled handwritten digits (BSD-3-Clause), light ink on dark", same_label,
    )  # fmt: skip


def zero(learn: list[Example], held_out: list[Example]) -> Sample:
    fitted = MLPClassifier((16,), alpha=1e-2, max_iter=300, random_state=2)
    fitted.fit(tensors(learn, DIGIT), [kind == 0 for _, kind in learn])
    return Sample(
        "zero", "Is this digit a zero?", "binary", ("YES", "NO"),
        networks.perceptron(fitted.coefs_, fitted.intercepts_, 8, 8), DIGIT,
        Output("sigmoid", networks.OUTPUT),
        [(d, "YES" if k == 0 else "NO") for d, k in held_out],
        "scikit-learn's bundled handwritten digits (BSD-3-Clause), light ink on dark", same_label,
    )  # fmt: skip


def shape() -> Sample:
    learn = shape_pictures(12_000, 3)
    fitted = MLPClassifier((56,), alpha=1e-3, max_iter=60, random_state=3, early_stopping=True)
    indices = [pictures.SHAPES.index(kind) for _, kind in learn]
    fitted.fit(tensors(learn, SHAPE), indices)
    return Sample(
        "shape", "Which shape is this?", "multiclass", pictures.SHAPES,
        networks.perceptron(fitted.coefs_, fitted.intercepts_, 24, 24), SHAPE,
        Output("softmax", networks.OUTPUT), shape_pictures(1200, HELD_OUT_SEED),
        "drawn: one dark shape of any size, place and turn on a light ground", same_label,
    )  # fmt: skip


def focus() -> Sample:
    learn = scene_pictures(1000, 4)
    images = tensors(learn, SCENE).reshape(-1, SCENE.height, SCENE.width)
    filters = edge_filters()
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    energy = [(np.einsum("nyxij,ij->nyx", windows, f[0]) ** 2).mean(axis=(1, 2)) for f in filters]
    logs = np.log(np.stack(energy, axis=1) + 1e-6)
    scaler = StandardScaler().fit(logs)
    fitted = LogisticRegression().fit(scaler.transform(logs), [kind == "YES" for _, kind in learn])
    weight = fitted.coef_[0] / scaler.scale_
    bias = fitted.intercept_ - (weight * scaler.mean_).sum()
    return Sample(
        "focus", "Is the picture in focus?", "binary", ("YES", "NO"),
        networks.energies(filters, weight, bias, SCENE.height), SCENE,
        Output("sigmoid", networks.OUTPUT), scene_pictures(600, HELD_OUT_SEED),
        "drawn: shapes and words, blurred by at most 0.4 pixels or by 1.8 to 5", same_label,
    )  # fmt: skip


def parts() -> Sample:
    values, marks = part_patches(part_pictures(300, 5), random.Random(6))
    fitted = MLPClassifier((16,), alpha=1e-4, max_iter=80, random_state=5, early_stopping=True)
    fitted.fit(values, marks)
    return Sample(
        "parts", "Where are the parts, and how many?", "boxes", ("part",),
        networks.patches(fitted.coefs_, fitted.intercepts_, PATCH, PARTS.width), PARTS,
        Output("map", networks.OUTPUT, threshold=0.6, mask=0.5, margin=1.33, min_side=2),
        part_pictures(400, HELD_OUT_SEED),
        "drawn: none to nine dark discs among thin scratches", same_boxes,
    )  # fmt: skip


def part_patches(examples: Sequence[Example], chance: random.Random) -> tuple[Any, Any]:
    """Patches around pixels, and whether each pixel is in the inner part of a disc."""
    values, marks = [], []
    all_discs = [discs for _, discs in examples]
    for discs, image in zip(all_discs, tensors(examples, PARTS), strict=True):
        scale = PARTS.width / pictures.SIDE
        padded = np.pad(image.reshape(PARTS.height, PARTS.width), PATCH // 2, mode="edge")
        rows, columns = np.mgrid[: PARTS.height, : PARTS.width] + 0.5
        inner = np.zeros(rows.shape, bool)
        for disc in discs:
            away = np.hypot(columns - disc.x * scale, rows - disc.y * scale)
            inner |= away < 0.6 * disc.radius * scale
        wanted = chance.sample(range(inner.size), 150)
        wanted += chance.choices(np.flatnonzero(inner).tolist(), k=100) if discs else []
        for place in wanted:
            y, x = divmod(place, PARTS.width)
            values.append(padded[y : y + PATCH, x : x + PATCH].reshape(-1))
            marks.append(bool(inner[y, x]))
    return np.array(values), np.array(marks)


def edge_filters() -> Any:
    """[3, 1, 3, 3]: Laplacian and the two Sobel operators."""
    laplacian = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    return np.array([laplacian, sobel, sobel.T], np.float64)[:, None]


def same_label(model: Model, data: bytes, expected: str) -> bool:
    result = model.infer(data).result
    return isinstance(result, ClassResult) and result.label == expected


def same_boxes(model: Model, data: bytes, discs: list[pictures.Disc]) -> bool:
    """As many boxes as discs, and the centre of each disc in a box of its own."""
    result = model.infer(data).result
    assert isinstance(result, BoxesResult)
    hits = [
        [
            box.left < disc.x / pictures.SIDE < box.right
            and box.top < disc.y / pictures.SIDE < box.bottom
            for disc in discs
        ]
        for box in result.boxes
    ]
    return result.count == len(discs) and all(sum(row) == 1 for row in hits)


def write(sample: Sample, home: Path) -> float:
    """Write the package, measure it, write its card; returns the accuracy on what was held out."""
    directory = home / sample.name
    directory.mkdir(parents=True, exist_ok=True)
    network = Network(WEIGHTS, sample.input, sample.output)
    text = toml(sample.task, sample.classes, {WEIGHTS: sample.weights}, network)
    (directory / WEIGHTS).write_bytes(sample.weights)
    (directory / FILE).write_text(text)
    model = open_model(directory)
    right = sum(sample.right(model, data, shown) for data, shown in sample.held_out)
    total = len(sample.held_out)
    (directory / "README.md").write_text(
        f"# {sample.name}: {sample.question}\n\n"
        f"A sample detector of hardtack's ({sample.task}), for trying out and testing.\n\n"
        f"- Data: {sample.data}.\n"
        f"- Held out: right for {right} of {total} pictures ({right / total:.1%}).\n"
        f"- Size: {len(sample.weights)} bytes of ONNX, opset 17.\n"
        "- Made by `python -m training.train` from fixed seeds; Apache-2.0.\n"
        "- Not for: anything but pictures like those.\n"
    )
    return right / total


def main(home: Path) -> None:
    learn, held_out = digit_pictures()
    for make in (
        lambda: digit(learn, held_out),
        lambda: zero(learn, held_out),
        shape,
        focus,
        parts,
    ):
        sample = make()
        accuracy = write(sample, home)
        sys.stdout.write(f"{sample.name:8} {accuracy:.1%}  {len(sample.weights)} bytes\n")
    wanted = {kind: data for data, kind in reversed(held_out)}
    for kind in (0, 7):
        (home / f"digit-{kind}.png").write_bytes(wanted[kind])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HOME)
