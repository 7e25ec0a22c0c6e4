"""ONNX Runtime: a network as a function from tensors to tensors."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardtack.core.errors import ConfigError, ModelError

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Options:
    """`providers` in order of preference, by our names; `threads` 0: what the box allows;
    `window`: seconds that a picture waits for others to be run with it, 0: none."""

    providers: tuple[str, ...] = ("cpu",)
    threads: int = 0
    window: float = 0.0


@dataclass(frozen=True)
class Port:
    """An input or output: its shape (-1 where it varies) and its type as ONNX Runtime writes it."""

    name: str
    shape: tuple[int, ...]
    type: str


def quiet_onnxruntime() -> Any:
    """The module, with nothing of its telemetry: its Linux builds would report to their maker from
    the import on, and leave a file in the directory for temporary ones."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


class Session:
    """A loaded network; `run` may be called from several threads."""

    def __init__(self, path: Path, options: Options) -> None:
        onnxruntime = quiet_onnxruntime()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = threads_allowed(options.threads)
        settings.inter_op_num_threads = 1
        # Threads that spin would take the cores from the other detectors' servers.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = _providers(options.providers, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=providers)
        except _failures() as error:
            raise ModelError(
                f"{path} is not a model that ONNX Runtime can load: {_first_line(error)}.",
                remedy="Copy it again, or export it again from what it was trained with.",
            ) from None
        self.path = path
        self.inputs = [_port(p) for p in self._session.get_inputs()]
        self.outputs = [_port(p) for p in self._session.get_outputs()]
        self.providers: list[str] = self._session.get_providers()
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def input_name(self, wanted: str) -> str:
        """`wanted`, or the only input when it is empty. Raises ModelError."""
        return _pick(self.path, "input", wanted, [port.name for port in self.inputs])

    def output_name(self, wanted: str) -> str:
        return _pick(self.path, "output", wanted, [port.name for port in self.outputs])

    def run(self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The named outputs. Raises ModelError where the shapes or types don't fit."""
        try:
            values = self._session.run(list(outputs), dict(inputs))
        except _failures() as error:
            raise ModelError(
                f"{self.path} can't run on this input: {_first_line(error)}.",
                remedy="Compare model.toml with: hardtack model show.",
            ) from None
        return [np.asarray(value) for value in values]


def threads_allowed(configured: int, cpu_max: Path = _CPU_MAX) -> int:
    """Threads to use: `configured` (0: all), at most the cores that this process may use."""
    allowed = min(len(os.sched_getaffinity(0)), _cgroup_cores(cpu_max))
    return min(configured or allowed, allowed)


def _cgroup_cores(cpu_max: Path) -> int:
    """Cores of the cgroup's quota (`200000 100000` is two), rounded up; many when unlimited."""
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        return 2**16


def _providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """ONNX Runtime's names of the providers. Raises ConfigError."""
    for name in wanted:
        if name not in PROVIDERS:
            raise ConfigError(
                f"{name!r} is not a provider.", remedy=f"Known: {', '.join(PROVIDERS)}."
            )
        if PROVIDERS[name] not in available:
            present = [ours for ours, theirs in PROVIDERS.items() if theirs in available]
            raise ConfigError(
                f"The provider {name!r} is not in the installed ONNX Runtime.",
                remedy=f"Install one that has it, or choose from: {', '.join(present)}.",
            )
    return [PROVIDERS[name] for name in wanted]


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its own exceptions have no common base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        OSError, RuntimeError, ValueError,
        state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
        state.NoSuchFile, state.NotImplemented, state.RuntimeException,
    )  # fmt: skip


def _port(port: Any) -> Port:
    shape = tuple(side if isinstance(side, int) else -1 for side in port.shape)
    return Port(port.name, shape, port.type)


def _pick(path: Path, what: str, wanted: str, names: list[str]) -> str:
    if wanted in names or (not wanted and len(names) == 1):
        return wanted or names[0]
    problem = f"has no {what} {wanted!r}" if wanted else f"has {len(names)} {what}s"
    raise ModelError(
        f"{path} {problem}; there are: {', '.join(names)}.",
        remedy=f"Name one of them in model.toml, [network.{what}] name.",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
