"""Model packages written: `model.toml` for an ONNX file."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError
from hardtack.core.files import write_atomically
from hardtack.inference.package import DECODERS, FILE, FORMAT, Input, Network, Output, parse
from hardtack.inference.runtime import Options, Session


def toml(
    task: str,
    classes: tuple[str, ...],
    weights: dict[str, bytes],
    network: Network,
    finder: Network | None = None,
) -> str:
    """The text of `model.toml`, with the size and SHA-256 of each of `weights` (file → bytes)."""
    lines = [f"format = {FORMAT}", f"task = {_value(task)}"]
    lines += [f"classes = {_value(classes)}"] if classes else []
    for file, body in weights.items():
        digest = hashlib.sha256(body).hexdigest()
        lines += ["", "[[weights]]", f"file = {_value(file)}"]
        lines += [f"size = {len(body)}", f"sha256 = {_value(digest)}"]
    for name, part in (("network", network), ("finder", finder)):
        if part is not None:
            lines += ["", f"[{name}]", f"file = {_value(part.file)}"]
            lines += [*_table(f"{name}.input", part.input), *_table(f"{name}.output", part.output)]
    return "\n".join(lines) + "\n"


def draft(onnx: Path, task: str, classes: tuple[str, ...]) -> str:
    """`model.toml` for an ONNX file, guessed from its first input and output.

    Raises ModelError when the file can't be loaded, ConfigError when it takes no picture.
    """
    session = Session(onnx, Options())
    port = session.inputs[0]
    if len(port.shape) != 4:
        raise ConfigError(
            f"{onnx} takes {port.name!r} of the shape {list(port.shape)}, not pictures.",
            remedy="Expected four dimensions: one batch, channels, height and width.",
        )
    sides = session.outputs[0].shape[1:]
    scores = math.prod(sides) if min(sides, default=0) > 0 else 0  # 0: not known
    scored = task in ("binary", "multiclass") and len(classes) > 1 and scores > 1
    if scored and scores != len(classes):
        raise ConfigError(
            f"{onnx} puts out {scores} scores, and {len(classes)} classes are named: "
            f"{', '.join(classes)}.",
            remedy="Name one for each score, in the order of the output.",
        )
    last = port.shape[3] in (1, 3)
    channels, height, width = (port.shape[i] for i in ((3, 1, 2) if last else (1, 2, 3)))
    height, width = (side if side > 0 else 224 for side in (height, width))
    decode = DECODERS[task][0] if task not in ("count", "boxes") else "yolo"
    network = Network(
        onnx.name,
        Input(
            name=port.name, width=width, height=height, colour="grey" if channels == 1 else "rgb",
            fit="letterbox" if decode == "yolo" else "stretch",
            layout="nhwc" if last else "nchw",
        ),
        Output(decode, name=session.outputs[0].name),
    )  # fmt: skip
    return toml(task, classes, {onnx.name: onnx.read_bytes()}, network)


def golden(task: str, picture: Path, answer: str) -> str:
    """The table `[golden]`. Raises ConfigError where boxes or a count are no number."""
    body = picture.read_bytes()
    expected: str | int = answer
    if task in ("count", "boxes"):
        try:
            expected = int(answer)
        except ValueError:
            raise ConfigError(
                f"The answer {answer!r} is no number; a golden picture of the task {task} has one."
            ) from None
    lines = ["", "[golden]", f"file = {_value(picture.name)}", f"size = {len(body)}"]
    lines += [f"sha256 = {_value(hashlib.sha256(body).hexdigest())}"]
    return "\n".join([*lines, f"answer = {_value(expected)}"]) + "\n"


def write_package(directory: Path, text: str, *files: Path) -> None:
    """A new package of `files` in `directory`, which must not have one. Raises HardtackError."""
    parse(text, directory)
    if (directory / FILE).exists():
        raise ConfigError(
            f"{directory / FILE} exists already.", remedy="Choose the next version's directory."
        )
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        target = directory / file.name
        if not target.exists() or not target.samefile(file):
            shutil.copyfile(file, target)
    write_atomically(directory / FILE, text.encode())


def _table(name: str, values: Input | Output) -> list[str]:
    """A TOML table of what differs from the format's defaults."""
    pairs = [(f.name, getattr(values, f.name)) for f in fields(values)]
    changed = [(key, value) for key, value in pairs if value != getattr(type(values), key, None)]
    return ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in changed)]


def _value(value: Any) -> str:
    """A string, number or list as TOML; JSON's notation of these is TOML's too."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
