"""Text found and read in a picture, by the PP-OCR models of a Hugging Face cache.

Run as a program in the environment of an inference server (`HF_HUB_OFFLINE=1`, `HF_HUB_CACHE` in
the mount): it prints the lines that it read as JSON. What the networks expect (ImageNet mean and
deviation, sides of a multiple of 32, line height 48, CTC blank 0) is PP-OCRv4's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = "hardtack/pp-ocr-v4"
DETECTOR = "ch_PP-OCRv4_det_infer.onnx"
READER = "ch_PP-OCRv4_rec_infer.onnx"
_IS_TEXT = 0.3  # what the network calls text, in probability
TEXT = ("HARDTACK", "KEEPS", "4711")
"""The lines that the picture shows."""


def read_lines(picture: Path) -> list[str]:
    """The lines of text in `picture`, from top to bottom."""
    import numpy as np
    from PIL import Image

    image = np.asarray(Image.open(picture).convert("RGB"))
    detector, reader = _session(DETECTOR), _session(READER)
    lines = []
    for top, bottom, left, right in find_rows(_probabilities(detector, image)):
        lines.append(_read(reader, image[top:bottom, left:right]))
    return [line for line in lines if line]


def find_rows(probability: Any) -> list[tuple[int, int, int, int]]:
    """Boxes (top, bottom, left, right) of text rows in a map [height, width] of probabilities.

    Rows of upright text are runs of lines in which any pixel is text. The network shrinks text
    (DB, Liao et al. 2019), so a box is widened by three quarters of its height.
    """
    import numpy as np

    mask = probability > _IS_TEXT
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.any(axis=1).astype(int), [0]])))
    boxes = []
    for top, bottom in zip(edges[::2], edges[1::2], strict=True):
        columns = np.flatnonzero(mask[top:bottom].any(axis=0))
        if bottom - top < 4:
            continue
        margin = int(0.75 * (bottom - top))
        boxes.append(
            (
                max(0, int(top) - margin),
                int(bottom) + margin,
                max(0, int(columns[0]) - margin),
                int(columns[-1]) + margin,
            )
        )
    return boxes


def decode_ctc(scores: Any, characters: Sequence[str]) -> str:
    """Greedy CTC (Graves et al. 2006): [time, classes] → text; class 0 is the blank."""
    best = scores.argmax(axis=1)
    kept = [c for c, before in zip(best, [0, *best[:-1]], strict=True) if c not in (0, before)]
    return "".join(characters[c - 1] if c <= len(characters) else " " for c in kept)


def _session(file: str) -> Any:
    from huggingface_hub import hf_hub_download

    from hardtack.inference.runtime import quiet_onnxruntime

    onnxruntime = quiet_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    path = hf_hub_download(REPOSITORY, file)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _probabilities(session: Any, image: Any) -> Any:
    import numpy as np

    height, width = (-(-side // 32) * 32 for side in image.shape[:2])
    canvas = np.zeros((height, width, 3), np.float32)
    canvas[: image.shape[0], : image.shape[1]] = image / 255.0
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    batch = ((canvas - mean) / deviation).transpose(2, 0, 1)[None].astype(np.float32)
    result = session.run(None, {session.get_inputs()[0].name: batch})[0][0, 0]
    return result[: image.shape[0], : image.shape[1]]


def _read(session: Any, row: Any) -> str:
    import numpy as np
    from PIL import Image

    width = max(1, round(row.shape[1] * 48 / row.shape[0]))
    scaled = np.asarray(Image.fromarray(row).resize((width, 48), Image.Resampling.BILINEAR))
    batch = ((scaled / 255.0 - 0.5) / 0.5).transpose(2, 0, 1)[None].astype(np.float32)
    scores = session.run(None, {session.get_inputs()[0].name: batch})[0][0]
    characters = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    return decode_ctc(scores, characters).strip()


if __name__ == "__main__":
    print(json.dumps(read_lines(Path(sys.argv[1]))))  # noqa: T201
