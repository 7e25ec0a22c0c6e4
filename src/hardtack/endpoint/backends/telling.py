"""What an inference server is told: its words, and its environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardtack.endpoint.backends.versions import Version


_PROVIDERS = {"cpu": (), "gpu": ("cuda", "cpu"), "jetson": ("tensorrt", "cuda", "cpu")}
FLAVORS = tuple(_PROVIDERS)
"""What models run on, each with the runtime's providers in the order of preference."""


def serving(detector: str, version: Version, threads: int, window: float, flavor: str) -> list[str]:
    """What `hardtack inference serve` is told of a version."""
    words = ["--model", str(version.primary.directory), "--name", detector, "--fail-fast"]
    if version.oodd:
        words += ["--oodd", str(version.oodd.directory)]
    if window:
        words += ["--batch-window", f"{window * 1000:g}ms"]
    words += ["--threads", str(threads)]
    return [*words, *(word for name in _PROVIDERS[flavor] for word in ("--provider", name))]


def describing(detector: str, version: Version) -> dict[str, str]:
    """What another program is told of a version: edge-endpoint's names, and the directory."""
    found = {
        "MODEL_NAME": f"{detector}/primary",
        "MODEL_REPOSITORY": str(version.primary.directory.parents[2]),
        "MODEL_DIR": str(version.primary.directory),
        "MODEL_VERSION": version.primary.version,
        "WORKERS": "1",
    }
    return {**found, **({"OODD_DIR": str(version.oodd.directory)} if version.oodd else {})}


def offline(models: Path, threads: int) -> dict[str, str]:
    """A server's environment: nothing is looked for outside the box, and threads are capped."""
    found = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_CACHE": str(models / "pretrained-weights/hf-hub"),
        "TORCH_HOME": str(models / "pretrained-weights/torch-home"),
    }
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS") if threads else ()
    return {**found, **dict.fromkeys(names, str(threads))}


def environment(models: Path, threads: int) -> dict[str, str]:
    """The whole environment of a server on this box."""
    return {**os.environ, **offline(models, threads)}
