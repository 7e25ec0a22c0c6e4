"""What the pods of a detector say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def of(detector: str, objects: Iterable[Object]) -> Sequence[Pod]:
    """The detector's pods."""
    return [
        _read(body)
        for body in objects
        if body["metadata"].get("labels", {}).get(DETECTOR) == detector
    ]


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
        bool(metadata.get("deletionTimestamp")),
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
