"""The golden picture, put to another program's server as our own server puts it to its model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import urllib3

from hardtack.core.errors import EndpointError
from hardtack.endpoint import replies
from hardtack.endpoint.backends.versions import Version
from hardtack.endpoint.detectors import MODES, Detector
from hardtack.inference.ondisk import NotHere


def examine(detector: str, version: Version, port: int, patience: float) -> str:
    """Why the server that listens on `port` may not answer for this version; empty where it may,
    or where the package has no golden picture. Blocks. Raises NotHere where the picture can't be
    read."""
    package = version.primary
    expected = package.golden
    if expected is None:
        return ""
    picture = package.directory / expected.picture.file
    try:
        body = picture.read_bytes()
    except OSError as error:
        raise NotHere(f"{picture} can't be read: {error.strerror}.") from None
    try:
        reply = urllib3.request(
            "POST", f"http://127.0.0.1:{port}/infer", body=body,
            headers={"content-type": "application/octet-stream"}, timeout=patience, retries=False,
        )  # fmt: skip
        if reply.status != 200:
            return f"it answers {reply.status} to its golden picture {picture.name}"
        told = json.loads(reply.data)
        asked = Detector(detector, detector, "", MODES[package.task], package.classes)
        result = told.get("result") or replies.result(asked, told)
        answer, confidence = _said(result), float(result["confidence"])
    except urllib3.exceptions.HTTPError as error:
        return f"it does not answer its golden picture {picture.name}: {type(error).__name__}"
    except (EndpointError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it answers its golden picture {picture.name} with nothing usable: {error}"
    if version.oodd:  # which lowers the confidence: what is expected is the model's alone
        expected = replace(expected, confidence=None)
    wrong = expected.difference(answer, confidence)
    return f"it fails its golden picture {picture.name}: {wrong}" if wrong else ""


def _said(result: dict[str, Any]) -> str | int:
    """An answer as `[golden]` has it."""
    if "count" in result:
        return int(result["count"])
    return str(result["label"] if "label" in result else result["text"])
