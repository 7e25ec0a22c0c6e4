"""What the pods of a detector say of themselves."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hardtack.endpoint.backends.kubernetes.client import Object
from hardtack.endpoint.backends.kubernetes.manifests import DETECTOR, IDENTITY, VERSION

_BROKEN = {
    "CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull",
    "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
}  # fmt: skip


@dataclass(frozen=True)
class Pod:
    """`broken` says why it doesn't start, `last` why its server, or what examines that, ended last;
    both may be empty. `going`: it was deleted, and ends soon."""

    identity: str
    version: str
    ready: bool
    restarts: int
    broken: str
    last: str
    going: bool


class _Overdue:
    """Of names that are to be gone soon, those that aren't after `patience` seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: Mapping[str, float] = {}

    def among(self, names: Iterable[str]) -> set[str]:
        """`names` are all that are to be gone now."""
        now = time.monotonic()
        self._since = {name: self._since.get(name, now) for name in names}
        return {name for name, since in self._since.items() if now - since >= self._patience}


class Holding:
    """How many pods hold memory: those that were deleted too, until they are gone. One that isn't
    after `patience` seconds never will be, as on a node that is gone, and isn't counted."""

    def __init__(self, patience: float) -> None:
        self._going, self._left = _Overdue(patience), _Overdue(patience)

    def count(self, detector: str, objects: Mapping[str, Object]) -> int:
        """Of the detector's pods; `objects` are everybody's, by name."""
        return len(self._held(detector, objects))

    def ending(self, detector: str, objects: Mapping[str, Object]) -> int:
        """Of these, those that were deleted."""
        return sum(map(_is_going, self._held(detector, objects)))

    def left(self, known: Collection[str], objects: Mapping[str, Object]) -> int:
        """Detectors beside those `known` that have pods: nothing wants them, and they end soon. One
        that doesn't was made to stay, and isn't counted."""
        left = {name: body for name, body in objects.items() if detector_of(body) not in known}
        late = self._left.among(left)
        held = (body for name, body in left.items() if name not in late and not _has_ended(body))
        return len(set(map(detector_of, held)))

    def _held(self, detector: str, objects: Mapping[str, Object]) -> list[Object]:
        late = self._going.among(name for name, body in objects.items() if _is_going(body))
        return [
            body
            for name, body in objects.items()
            if name not in late and detector_of(body) == detector and not _has_ended(body)
        ]


def of(detector: str, objects: Iterable[Object]) -> Sequence[Pod]:
    """The detector's pods."""
    return [_read(body) for body in objects if detector_of(body) == detector]


def detector_of(body: Object) -> str:
    """The detector that an object of the cluster's is there for; empty where it names none."""
    return str(body["metadata"].get("labels", {}).get(DETECTOR, ""))


def _is_going(body: Object) -> bool:
    return bool(body["metadata"].get("deletionTimestamp"))


def _has_ended(body: Object) -> bool:
    """As one that was evicted: it stays to be read."""
    return (body.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _read(body: Object) -> Pod:
    metadata, status = body["metadata"], body.get("status") or {}
    conditions = status.get("conditions") or []
    containers = status.get("containerStatuses") or []
    restarts, broken, said, how = 0, "", "", ""
    for container in containers:
        restarts += container.get("restartCount", 0)
        waiting = (container.get("state") or {}).get("waiting") or {}
        ended = (container.get("lastState") or {}).get("terminated") or {}
        ended = (container.get("state") or {}).get("terminated") or ended
        if ended:
            said, how = _words(ended) or said, _how(ended)
        if waiting.get("reason") in _BROKEN:
            more = str(waiting.get("message") or "")[:300]
            broken = f"{waiting['reason']}: {more}" if more else str(waiting["reason"])
    unplaced = next(
        (
            str(c.get("message") or c.get("reason"))
            for c in conditions
            if c.get("type") == "PodScheduled" and c.get("status") == "False"
        ),
        "",
    )
    return Pod(
        metadata.get("annotations", {}).get(IDENTITY, ""),
        metadata.get("labels", {}).get(VERSION, ""),
        any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions),
        restarts,
        broken or (f"It finds no node: {unplaced}" if unplaced else ""),
        said or how,
        _is_going(body),
    )


def _words(ended: Object) -> str:
    """A container's last words, where they are ours."""
    lines = str(ended.get("message") or "").splitlines()
    said = next((line for line in reversed(lines) if line.startswith("hardtack: ")), "")
    return said.removeprefix("hardtack: ")


def _how(ended: Object) -> str:
    if ended.get("reason") == "OOMKilled":
        return "it took more memory than it may"
    return f"exit code {ended.get('exitCode')}"
