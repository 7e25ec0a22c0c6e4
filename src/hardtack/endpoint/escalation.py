"""Whether an image query goes to the cloud, and whether its caller waits for it."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from enum import Enum

from hardtack.endpoint.edgeconfig import Inference


class Way(Enum):
    """EDGE: the box's answer alone. CLOUD: the cloud's answer, the box's where there is none.
    LATER: the box's answer, and the query to the cloud behind it. AUDIT: the same, of less worth.
    """

    EDGE = "edge"
    CLOUD = "cloud"
    LATER = "later"
    AUDIT = "audit"


@dataclass(frozen=True)
class Answered:
    """What the decision rests on. `since_last`: seconds since the detector's last escalation;
    `drawn`: a random number from 0 to 1."""

    confident: bool
    human_review: str
    since_last: float
    drawn: float


class Escalations:
    """Chooses ways, and knows when each detector last went to the cloud. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def choose(
        self, detector: str, inference: Inference, audit_rate: float, *,
        confident: bool, human_review: str,
    ) -> Way:  # fmt: skip
        """The way of a query that the box has answered and that there is a cloud for."""
        with self._lock:
            now = time.monotonic()
            since = now - self._last.get(detector, -1e9)
            answered = Answered(confident, human_review, since, random.random())
            chosen = way(inference, audit_rate, answered)
            if chosen is Way.LATER:
                self._last[detector] = now
        return chosen


def way(inference: Inference, audit_rate: float, answered: Answered) -> Way:
    """The same as a pure function of what it rests on.

    As the SDK describes it, `min_time_between_escalations` bounds what the box sends behind its
    own answers; a detector that has not promised the box's answer asks the cloud each time.
    """
    if inference.disable_cloud_escalation:
        return Way.EDGE
    if answered.human_review == "ALWAYS":
        return Way.CLOUD
    if answered.confident:
        return Way.AUDIT if answered.drawn < audit_rate else Way.EDGE
    if not inference.always_return_edge_prediction:
        return Way.CLOUD
    passed = answered.since_last >= inference.min_time_between_escalations
    return Way.LATER if passed else Way.EDGE
