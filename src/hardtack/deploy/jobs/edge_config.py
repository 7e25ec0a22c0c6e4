"""The chart's edge configuration, put in force once for each revision of the release.

What was set through the SDK while the endpoint ran survives its restarts: only an install or an
upgrade that brings a configuration replaces it.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.files import write_atomically
from hardtack.endpoint import edgeconfig
from hardtack.endpoint.edgeconfig import KEPT_CONFIG

GIVEN, REVISION = "edge-config.yaml", "revision"
MARKER = ".helm-revision"


class Outcome(StrEnum):
    """What was done, and why."""

    APPLIED = "the chart's edge configuration is in force"
    SAME = "this revision was applied before: the edge configuration in force stays"
    NONE = "the chart brings no edge configuration: the one in force stays"


def apply(given: Path, state: Path) -> Outcome:
    """Put the configuration in the directory `given` in force for the endpoint of `state`.

    Raises ConfigError, and changes nothing, for a configuration that the endpoint wouldn't take.
    """
    revision = _read(given / REVISION).strip()
    if not revision.isdecimal():
        raise ConfigError(
            f"{given / REVISION}: expected the number of the Helm revision, found {revision!r}.",
            remedy="The chart writes it: .Release.Revision.",
        )
    text = _read(given / GIVEN)
    nothing = "".join(text.split()) in ("", "{}")
    if not nothing:
        edgeconfig.parse(text, str(given / GIVEN))
    marker = state / MARKER
    if marker.is_file() and _read(marker).strip() == revision:
        return Outcome.SAME
    try:
        state.mkdir(parents=True, exist_ok=True)
        if not nothing:
            write_atomically(state / KEPT_CONFIG, text.encode())
        write_atomically(marker, f"{revision}\n".encode())
    except OSError as error:
        raise ConfigError(
            f"{state} can't be written: {error.strerror}.",
            remedy="It must belong to the user that the endpoint runs as.",
        ) from None
    return Outcome.NONE if nothing else Outcome.APPLIED


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"{path} can't be read: {told}.", remedy="Mount the chart's ConfigMap there."
        ) from None


def told(outcome: Outcome, state: Path) -> str:
    """The outcome as a line of log, with what stands in force."""
    kept = state / KEPT_CONFIG
    if not kept.is_file():
        return f"{outcome}; the endpoint's defaults hold"
    config = edgeconfig.parse(_read(kept), str(kept))
    names = sorted(set(config.detectors.values()))
    return f"{outcome}: {len(config.detectors)} detectors, {json.dumps(names)}"
