"""The detectors that the box knows: those that its file names, and those learnt from the cloud."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardtack.core.errors import UpstreamError
from hardtack.core.files import write_atomically
from hardtack.endpoint import ids
from hardtack.endpoint.detectors import MODES, PATIENCE, THRESHOLD, Detector

_log = logging.getLogger(__name__)


class Book:
    """What the file says goes before what the cloud says. Thread-safe."""

    def __init__(self, named: Mapping[str, Detector], kept: Path) -> None:
        """`kept` is the file of what was learnt; a damaged one is left aside, and learnt anew."""
        self._named = dict(named)
        self._kept = kept
        self._lock = threading.Lock()
        self._learnt = _read(kept)

    def get(self, identity: str) -> Detector | None:
        return self._named.get(identity) or self._learnt.get(identity)

    def every(self) -> list[Detector]:
        """Those of the file in its order, then those learnt."""
        return list({**self._learnt, **self._named}.values())

    def by_name(self, name: str) -> Detector | None:
        return next((d for d in self.every() if d.name == name), None)

    def learnt(self) -> list[str]:
        """The ids of those that the cloud alone tells of."""
        return [identity for identity in self._learnt if identity not in self._named]

    def named(self, identity: str) -> bool:
        return identity in self._named

    def learn(self, told: Mapping[str, Any]) -> Detector:
        """Keep what the cloud says of a detector. Raises UpstreamError where it says nonsense."""
        detector = from_cloud(told)
        with self._lock:
            if self._learnt.get(detector.id) != detector:
                self._keep({**self._learnt, detector.id: detector})
        return detector

    def forget(self, identity: str) -> None:
        """The cloud has deleted a detector. One that the file names stays."""
        with self._lock:
            if identity in self._learnt:
                self._keep({i: found for i, found in self._learnt.items() if i != identity})

    def _keep(self, learnt: Mapping[str, Detector]) -> None:
        self._learnt = dict(learnt)
        every = [found.as_json() for found in learnt.values()]
        try:
            write_atomically(self._kept, json.dumps(every, indent=1).encode())
        except OSError as error:
            _log.error("%s can't be written: %s", self._kept, error)


def from_cloud(told: Mapping[str, Any]) -> Detector:
    """A detector as the cloud describes it. Raises UpstreamError."""
    try:
        configuration = told.get("mode_configuration") or {}
        classes = configuration.get("class_names") or [configuration.get("class_name")]
        most = configuration.get("max_count") or configuration.get("max_num_bboxes")
        detector = Detector(
            id=str(told["id"]),
            name=str(told["name"]),
            query=str(told["query"]),
            mode=str(told["mode"]),
            classes=tuple(str(name) for name in classes if name is not None),
            most=int(most) if most else None,
            confidence_threshold=float(told.get("confidence_threshold", THRESHOLD)),
            patience_time=float(told.get("patience_time") or PATIENCE),
            group_name=str(told.get("group_name", "default")),
            created_at=str(told.get("created_at", "1970-01-01T00:00:00Z")),
            metadata=told.get("metadata"),
            status=str(told.get("status") or "ON"),
            escalation_type=str(told.get("escalation_type") or "STANDARD"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UpstreamError(f"The cloud describes a detector without sense: {error}.") from None
    if not ids.DETECTOR.fullmatch(detector.id) or detector.mode not in MODES.values():
        raise UpstreamError(
            f"The cloud describes the detector {detector.id[:40]!r} with the mode "
            f"{detector.mode[:40]!r}; expected one of {', '.join(MODES.values())}."
        )
    return detector


def _read(path: Path) -> dict[str, Detector]:
    try:
        every = [from_cloud(told) for told in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, UpstreamError) as error:
        _log.error("%s is left aside: %s", path, error)
        return {}
    return {detector.id: detector for detector in every}
