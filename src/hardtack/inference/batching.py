"""Pictures of several callers put to a network at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardtack.core.errors import ModelError
from hardtack.inference.runtime import Port

MOST = 8
"""Pictures in one batch."""
_ALIKE = 1e-3

Run = Callable[[NDArray[Any]], NDArray[Any]]
"""A network: [pictures, …] → [pictures, …]."""


class Batching:
    """Gathers the tensors of one shape that threads bring within `window` seconds, and runs the
    network once for them. Thread-safe."""

    def __init__(self, run: Run, window: float, most: int = MOST) -> None:
        self.heard: Callable[[int], None] = lambda _: None
        """Told of each run how many pictures it was for."""
        self._run = run
        self._window = window
        self._most = most
        self._open: dict[tuple[int, ...], _Batch] = {}
        self._lock = threading.Lock()

    def __call__(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """[1, …] → [1, …], in at most the window and a run. Raises what the network does of this
        tensor alone: where a batch fails, each of it is run for itself."""
        with self._lock:
            batch = self._open.get(tensor.shape)
            leads = batch is None
            if batch is None:
                batch = self._open[tensor.shape] = _Batch()
            place = len(batch.tensors)
            batch.tensors.append(tensor)
            if place + 1 == self._most:
                del self._open[tensor.shape]
                batch.full.set()
        if leads:
            self._lead(batch, tensor.shape)
        else:
            batch.done.wait()
        if batch.outputs is None:
            self.heard(1)
            return self._run(tensor)
        return batch.outputs[place : place + 1]

    def _lead(self, batch: _Batch, shape: tuple[int, ...]) -> None:
        batch.full.wait(self._window)
        with self._lock:
            if self._open.get(shape) is batch:
                del self._open[shape]
        try:
            if len(batch.tensors) > 1:
                batch.outputs = self._run(np.concatenate(batch.tensors))
                self.heard(len(batch.tensors))
        except (ModelError, MemoryError):
            pass  # whose fault it was is found out by running each alone
        finally:
            batch.done.set()


class _Batch:
    def __init__(self) -> None:
        self.tensors: list[NDArray[Any]] = []
        self.outputs: NDArray[Any] | None = None
        self.full = threading.Event()
        self.done = threading.Event()


def why_singly(run: Run, taken: Port, given: Port, one: NDArray[Any], other: NDArray[Any]) -> str:
    """Why pictures can't be put to the network together; empty where they can.

    `taken` and `given` are its input and output, `one` and `other` two pictures as it takes them.
    """
    for what, port in (("input", taken), ("output", given)):
        if port.shape[:1] != (-1,):
            size = port.shape[0] if port.shape else "missing"
            return f"the first dimension of its {what} {port.name} is {size}, not free"
    alone = np.concatenate([run(one), run(other)])
    try:
        together = run(np.concatenate([one, other]))
    except ModelError as error:
        return f"two pictures at once fail: {error.message}"
    if together.shape != alone.shape or not np.allclose(together, alone, _ALIKE, _ALIKE):
        return "two pictures at once are answered otherwise than each alone"
    return ""
