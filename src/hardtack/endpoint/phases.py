"""Says in the log how the detectors' servers are: each phase with its reason, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from hardtack.endpoint.servers import State

_log = logging.getLogger(__name__)

_MOST = 100


class Phases:
    """What was told of each detector. A crash that repeats is told once, not for ever."""

    def __init__(self, state: Callable[[str], State]) -> None:
        self._state = state
        self._last: dict[str, str] = {}
        self._told: dict[str, set[str]] = {}

    def look(self, detectors: Iterable[str]) -> None:
        """Tell what has changed since the last look."""
        for detector in detectors:
            state = self._state(detector)
            words = told(state)
            if words == self._last.get(detector):
                continue
            self._last[detector] = words
            known = self._told.setdefault(detector, set())
            if state.phase == "ready" or len(known) > _MOST:
                known.clear()
            if words not in known:
                known.add(words)
                level = logging.WARNING if state.phase in ("absent", "failed") else logging.INFO
                _log.log(level, "%s: %s", detector, words)


def told(state: State) -> str:
    """The phase, and why, as a person reads it."""
    return f"{state.phase}: {state.note}" if state.note else state.phase
