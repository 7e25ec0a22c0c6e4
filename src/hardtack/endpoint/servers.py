"""What runs inference servers, seen from the endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Address:
    """Where a detector's server listens, and the version of the model that it serves."""

    host: str
    port: int
    version: str


@dataclass(frozen=True)
class State:
    """`phase`: absent (no whole model), waiting (for its turn), loading, ready, failed, stopped.
    `note` says why to a person; `weights` are bytes on the box and in all, where known;
    `refused` are versions that are here and failed, which the note explains."""

    phase: str
    version: str = ""
    note: str = ""
    restarts: int = 0
    weights: tuple[int, int] | None = None
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """Another program as a detector's server: it answers /infer and /health on the port in `PORT`.

    `command` runs it; on Kubernetes in `image`, or as the image says where there is no command.
    """

    image: str = ""
    command: tuple[str, ...] = ()


class Backend(Protocol):
    """Runs one inference server for each detector it is told to."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def want(self, detectors: frozenset[str]) -> None:
        """Run servers of these detectors and of no others, from now on."""

    def address(self, detector: str) -> Address | None:
        """The server that answers now; None while there is none."""

    def state(self, detector: str) -> State: ...
