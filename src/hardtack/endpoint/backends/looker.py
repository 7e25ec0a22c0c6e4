"""Looks at detectors' directories again and again, in a thread that may hang with the mount."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hardtack.endpoint.backends.versions import Seen, look

_SOON = 2.0


class Looker:
    """What was seen last of each detector. Thread-safe."""

    def __init__(
        self, models: Path, refresh: float, soon: Callable[[str], bool],
        changed: Callable[[], None],
    ) -> None:  # fmt: skip
        """`soon`: is the detector one that something is waited for, so that looks are frequent?"""
        self._models = models
        self._refresh = refresh
        self._soon = soon
        self._changed = changed
        self._wanted: frozenset[str] = frozenset()
        self._seen: dict[str, Seen] = {}
        self._looked: dict[str, float] = {}
        self._wake = threading.Event()
        self._ended = False

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="models").start()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    def want(self, detectors: frozenset[str]) -> None:
        self._wanted = detectors
        self._wake.set()

    @property
    def seen(self) -> Mapping[str, Seen]:
        return self._seen

    def _run(self) -> None:
        while not self._ended:
            self._wake.clear()
            for detector in sorted(self._wanted):
                pause = min(self._refresh, _SOON) if self._soon(detector) else self._refresh
                if time.monotonic() - self._looked.get(detector, -1e9) < pause:
                    continue
                found = look(self._models / detector)
                self._looked[detector] = time.monotonic()
                if self._seen.get(detector) != found:
                    self._seen = {**self._seen, detector: found}
                    self._changed()
            self._wake.wait(min(self._refresh, 1.0))
