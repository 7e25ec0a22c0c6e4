"""A backend that runs nothing, for tests of what stands above it."""

from __future__ import annotations

from pathlib import Path

from hardtack.endpoint.backends.versions import look
from hardtack.endpoint.servers import Address, State


class FakeBackend:
    """Every wanted detector with a whole model is ready at once, at `host` and `port`."""

    def __init__(self, models: Path, host: str = "127.0.0.1", port: int = 1) -> None:
        self._models = models
        self._where = (host, port)
        self._wanted: frozenset[str] = frozenset()
        self._started = False

    async def start(self) -> None:
        self._started = True

    async def close(self) -> None:
        self._started = False

    def want(self, detectors: frozenset[str]) -> None:
        self._wanted = detectors

    def address(self, detector: str) -> Address | None:
        whole = look(self._models / detector).whole if self._runs(detector) else ()
        return Address(*self._where, whole[0].label) if whole else None

    def state(self, detector: str) -> State:
        if not self._runs(detector):
            return State("stopped")
        seen = look(self._models / detector)
        if not seen.whole:
            return State("absent", note=seen.problem)
        return State("ready", seen.whole[0].label)

    def _runs(self, detector: str) -> bool:
        return self._started and detector in self._wanted
