"""What the box knows of its detectors without asking anybody: configuration and metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hardtack.core.errors import HardtackError
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State
from hardtack.endpoint.book import Book
from hardtack.endpoint.detectors import Detector, ModelsAway, read_detectors
from hardtack.endpoint.edgeconfig import KEPT_CONFIG, EdgeConfig, read_config

LEARNT = "detectors.json"
_NOWHERE = Path("/nonexistent")


@dataclass(frozen=True)
class Files:
    """Where the endpoint has its configuration: the given files, and what it keeps in `state`."""

    state: Path
    detectors: Path | None = None
    config: Path | None = None


def look(files: Files, models: Path | None) -> tuple[list[Row], list[str]]:
    """Rows of configuration and metadata, and the ids of the detectors that answer here.

    `models` holds their models' descriptions, as a mount shows them; None where nothing is known of
    the weights.
    """
    rows: list[Row] = []
    known: dict[str, Detector] = {}
    try:
        named = read_detectors(files.detectors, models or _NOWHERE) if files.detectors else {}
        known = {d.id: d for d in Book(named, files.state / LEARNT).every()}
    except ModelsAway as error:
        rows.append(_wrong("detectors", error) if models else _left_to_models())
    except HardtackError as error:
        rows.append(_wrong("detectors", error))
    try:
        config = read_config(files.config, files.state / KEPT_CONFIG)
    except HardtackError as error:
        rows.append(_wrong("edge configuration", error))
        return rows, sorted(known)
    wanted = [d for d in {**known, **config.detectors} if config.of(d).enabled]
    rows += [_unknown(d) for d in wanted if d not in known]
    if not rows and not wanted:
        detail = "neither the file of detectors nor the edge configuration names one"
        remedy = "Name the file with --detectors, or leave them out: --without configuration."
        rows.append(
            Row(Check.CONFIGURATION_NAMED, "detectors", State.MISSING, detail, remedy=remedy)
        )
    if not rows:
        detail = f"{len(wanted)} detectors, {_kept(config)}"
        rows.append(Row(Check.CONFIGURATION_KNOWN, "detectors", State.READY, detail))
    return rows, wanted


def _left_to_models() -> Row:
    detail = "the file of detectors leaves modes to the models, and of these nothing is known here"
    remedy = "Name their source: hardtack ready SOURCE; or give each detector its mode."
    return Row(Check.CONFIGURATION_READ, "detectors", State.WRONG, detail, remedy=remedy)


def _kept(config: EdgeConfig) -> str:
    return f"{len(config.detectors)} of them with a configuration of their own"


def _wrong(name: str, error: HardtackError) -> Row:
    remedy = error.remedy or "Mend it, then look again."
    return Row(Check.CONFIGURATION_READ, name, State.WRONG, error.message, remedy=remedy)


def _unknown(identity: str) -> Row:
    detail = "the edge configuration names it, and nothing on the box says what it asks"
    remedy = "Ask it once while there is a network, or describe it in the file of detectors."
    return Row(Check.CONFIGURATION_KNOWN, identity, State.MISSING, detail, remedy=remedy)
