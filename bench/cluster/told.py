"""What a cluster says of itself: rights that were used, pods and why they wait, images pulled."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Object = dict[str, Any]
Right = tuple[str, str]
"""A resource and a verb."""
_PULLS = ("Pulling", "BackOff", "ErrImageNeverPull")
_PULLED = "Successfully pulled"


def used(audit: Path, account: str) -> tuple[set[Right], list[str]]:
    """What a service account asked the API for, and what it was refused."""
    rights: set[Right] = set()
    refused: list[str] = []
    for line in audit.read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] != f"system:serviceaccount:edge:{account}":
            continue
        asked = (event.get("objectRef", {}).get("resource", ""), event["verb"])
        if event.get("responseStatus", {}).get("code") == 403:
            refused.append(" ".join(asked))
        rights.add(asked)
    return rights, refused


def given(role: Object) -> set[Right]:
    """What a Role allows."""
    return {
        (resource, verb)
        for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }  # fmt: skip


def pulls(events: Iterable[Object]) -> list[str]:
    """Events that say that an image was asked of a registry."""
    return [
        f"{event['involvedObject']['name']}: {event['reason']}: {event['message']}"
        for event in events
        if (event["reason"] in _PULLS and "image" in event["message"].lower())
        or event["message"].startswith(_PULLED)
    ]  # fmt: skip


def is_ready(pod: Object) -> bool:
    """Ready, and not about to go."""
    conditions = pod["status"].get("conditions", ())
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def ended(pod: Object) -> bool:
    """Whether its containers have: one that was deleted is listed for a moment longer."""
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def in_short(pod: Object) -> str:
    """Its name, and what it is about."""
    going = "going" if "deletionTimestamp" in pod["metadata"] else pod["status"].get("phase")
    return f"{pod['metadata']['name']} {going}"


def waits_for(pod: Object) -> str:
    """The reason why its first container waits, if it does."""
    for status in pod["status"].get("containerStatuses", ()):
        return str(status["state"].get("waiting", {}).get("reason", ""))
    return ""


def lives(pods: Iterable[Object]) -> dict[str, tuple[str, int]]:
    """Each pod's containers, by names, with what tells whether one was started again."""
    return {
        f"{pod['metadata']['name']}/{c['name']}": (c["containerID"], c["restartCount"])
        for pod in pods
        for c in pod["status"].get("containerStatuses", ())
    }
