"""What a caller asks with an image query, read from the address and checked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardtack.endpoint import exactly, ids

HUMAN_REVIEW = ("DEFAULT", "ALWAYS", "NEVER")
MOST_METADATA = 1024


class Refused(Exception):
    """A request that is answered with `status` and says why; `retry_after` in seconds."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True)
class Asked:
    """An image query without its picture. None means that the detector decides."""

    detector: str
    confidence_threshold: float | None = None
    patience_time: float | None = None
    human_review: str = "DEFAULT"
    metadata: Mapping[str, Any] | None = None
    image_query_id: str | None = None
    inspection_id: str | None = None
    want_async: bool = False


def read(parameters: Mapping[str, str]) -> Asked:
    """The image query that the address's parameters ask. Raises Refused, 400."""
    review = parameters.get("human_review", "DEFAULT").upper()
    if review not in HUMAN_REVIEW:
        raise Refused(
            400, f"human_review is {review!r}; expected one of {', '.join(HUMAN_REVIEW)}."
        )
    identity = parameters.get("image_query_id")
    if identity is not None and not ids.IMAGE_QUERY.fullmatch(identity):
        raise Refused(400, f"image_query_id is {identity!r}, not iq_ and 27 letters and digits.")
    return Asked(
        detector=detector_id(parameters.get("detector_id", "")),
        confidence_threshold=_number(parameters, "confidence_threshold", 1.0),
        patience_time=_number(parameters, "patience_time", 3600.0),
        human_review=review,
        metadata=_metadata(parameters.get("metadata")),
        image_query_id=identity,
        inspection_id=parameters.get("inspection_id"),
        want_async=_flag(parameters, "want_async"),
    )


def detector_id(text: str) -> str:
    """`text`, where it is a detector's id. Raises Refused, 400."""
    if not ids.DETECTOR.fullmatch(text):
        raise Refused(400, f"detector_id is {text[:80]!r}, not det_ and 27 letters and digits.")
    return text


def whole(parameters: Mapping[str, str], name: str, default: int, high: int) -> int:
    """A whole number from 1 to `high`. Raises Refused, 400."""
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= high):
        raise Refused(400, f"{name} is {text[:40]!r}; expected a whole number from 1 to {high}.")
    return int(text)


def _number(parameters: Mapping[str, str], name: str, high: float) -> float | None:
    text = parameters.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= high:
        raise Refused(400, f"{name} is {text[:40]!r}; expected a number from 0 to {high:g}.")
    return value


def _flag(parameters: Mapping[str, str], name: str) -> bool:
    text = parameters.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise Refused(400, f"{name} is {text[:40]!r}; expected true or false.")
    return text in ("true", "1")


def _metadata(text: str | None) -> Mapping[str, Any] | None:
    """JSON as URL-safe base64, with or without padding."""
    if not text:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        value = exactly.loads(raw)
    except (binascii.Error, ValueError):
        reason = "metadata is not JSON, which has no NaN, no Infinity and no half of a character, "
        raise Refused(400, reason + "in URL-safe base64.") from None
    if not isinstance(value, dict):
        raise Refused(400, "metadata must be a JSON object.")
    if len(raw) > MOST_METADATA:
        raise Refused(400, f"metadata has {len(raw)} bytes; at most {MOST_METADATA} are kept.")
    return value
