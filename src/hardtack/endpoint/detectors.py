"""What the box knows of its detectors: the file that names them, and the SDK's view of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError, ModelError
from hardtack.endpoint import ids
from hardtack.endpoint.fields import Fields, meant, read_file
from hardtack.endpoint.servers import Program
from hardtack.inference import ondisk

MODES = {
    "binary": "BINARY",
    "multiclass": "MULTI_CLASS",
    "count": "COUNT",
    "boxes": "BOUNDING_BOX",
    "text": "TEXT",
}
"""A model's task → the mode of a detector."""
THRESHOLD = 0.9
PATIENCE = 30.0
_MOST_BOXES = 50


class ModelsAway(ConfigError):
    """There is no directory of models yet: its mount may come."""


@dataclass(frozen=True)
class Detector:
    """One question asked of images. `most` bounds a count or boxes; beyond it an answer says so.
    `program` serves its model in place of our own server."""

    id: str
    name: str
    query: str
    mode: str
    classes: tuple[str, ...] = ()
    most: int | None = None
    confidence_threshold: float = THRESHOLD
    patience_time: float = PATIENCE
    group_name: str = "default"
    created_at: str = "1970-01-01T00:00:00Z"
    metadata: Mapping[str, Any] | None = field(default=None, hash=False)
    status: str = "ON"
    escalation_type: str = "STANDARD"
    program: Program | None = None

    def as_json(self) -> dict[str, Any]:
        """The detector as the SDK reads it."""
        return {
            "id": self.id,
            "type": "detector",
            "created_at": self.created_at,
            "name": self.name,
            "query": self.query,
            "group_name": self.group_name,
            "metadata": self.metadata,
            "mode": self.mode,
            "mode_configuration": self._configuration(),
            "confidence_threshold": self.confidence_threshold,
            "patience_time": self.patience_time,
            "status": self.status,
            "escalation_type": self.escalation_type,
        }

    def _configuration(self) -> dict[str, Any] | None:
        named = self.classes[0] if self.classes else "object"
        if self.mode == "COUNT":
            return {"class_name": named, "max_count": self.most}
        if self.mode == "BOUNDING_BOX":
            return {"class_name": named, "max_num_bboxes": self.most}
        if self.mode == "MULTI_CLASS":
            return {"class_names": list(self.classes), "num_classes": len(self.classes)}
        return None


def read_detectors(path: Path, models: Path) -> dict[str, Detector]:
    """The detectors that a file names, by id; what it leaves out, their models say.

    Raises ConfigError with the place of what is wrong, ModelsAway where the directory of the
    models that should say something can't be listed.
    """
    top = read_file(path, "the file of detectors")
    created = _iso(path.stat().st_mtime)
    found: dict[str, Detector] = {}
    names: dict[str, str] = {}
    for entry in top.each("detectors", "a detector"):
        detector = _detector(entry, models, created)
        if detector.id in found:
            entry.fail(entry.place("id"), f"the detector {detector.id} stands twice")
        if detector.name in names:
            entry.fail(
                entry.place("name"),
                f"the name {detector.name!r} is that of {names[detector.name]} already",
            )
        found[detector.id] = detector
        names[detector.name] = detector.id
    top.done()
    return found


def _detector(entry: Fields, models: Path, created: str) -> Detector:
    identity = entry.text("id")
    if not ids.DETECTOR.fullmatch(identity):
        entry.fail(entry.place("id"), f"{identity!r} is not det_ and 27 letters and digits")
    task, classes = _from_model(models / identity)
    mode = entry.text("mode", MODES.get(task, "")).upper()
    if mode not in MODES.values():
        if not mode:
            _demand_models(models, identity)
            entry.fail(
                entry.node, f"{identity} needs a mode: there is no model yet that would say it"
            )
        entry.fail(
            entry.place("mode"),
            f"there is no mode {mode!r}.{meant(mode, list(MODES.values()))}",
        )
    detector = Detector(
        id=identity,
        name=entry.text("name", identity),
        query=entry.text("query", ""),
        mode=mode,
        classes=entry.texts("classes") or classes,
        most=int(entry.number("max_count", 10, low=1, high=_MOST_BOXES))
        if mode in ("COUNT", "BOUNDING_BOX")
        else None,
        confidence_threshold=entry.number("confidence_threshold", THRESHOLD, low=0, high=1),
        patience_time=entry.number("patience_time", PATIENCE, low=0, high=3600),
        group_name=entry.text("group_name", "default"),
        created_at=entry.text("created_at", created),
        program=_program(entry),
    )
    entry.done()
    return detector


def _program(entry: Fields) -> Program | None:
    """What stands under `server`. It stands on the box alone: a bucket can't choose what runs."""
    server = entry.inside("server", "a server")
    found = Program(server.text("image", ""), server.texts("command"))
    server.done()
    if server.node.entries and not (found.image or found.command):
        server.fail(server.node, "a server needs a command, or on Kubernetes an image")
    return found if server.node.entries else None


def _from_model(directory: Path) -> tuple[str, tuple[str, ...]]:
    """Task and classes of the newest package that can be read, or nothing."""
    try:
        for version in ondisk.versions(directory / "primary"):
            found = ondisk.read(directory / "primary" / str(version))
            return found.task, found.classes
    except ModelError:
        return "", ()
    return "", ()


def _demand_models(models: Path, identity: str) -> None:
    """Raise ModelsAway unless there is a directory of models to look into."""
    try:
        os.scandir(models).close()
    except OSError as error:
        raise ModelsAway(
            f"The models' directory {models} can't be listed: {error.strerror}. The file of "
            f"detectors leaves it to the model to say the mode of {identity}.",
            remedy="Mount it, correct --models, or give each detector its mode.",
        ) from None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
