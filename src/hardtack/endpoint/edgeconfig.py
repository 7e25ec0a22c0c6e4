"""The edge configuration: edge-endpoint's YAML, which the SDK gets and puts as JSON.

global_config: {refresh_rate: 60.0, confident_audit_rate: 0.00001}
edge_inference_configs:
  careful: {always_return_edge_prediction: true, min_time_between_escalations: 60}
detectors:
  - {detector_id: det_…, edge_inference_config: careful}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError
from hardtack.endpoint import ids
from hardtack.endpoint.fields import Fields, meant, read

KEPT_CONFIG = "edge-config.yaml"
"""The file in the endpoint's state directory: what was set while it ran."""


@dataclass(frozen=True)
class Inference:
    """How a detector's queries are answered. Times in seconds."""

    enabled: bool = True
    always_return_edge_prediction: bool = False
    disable_cloud_escalation: bool = False
    min_time_between_escalations: float = 30.0


PRESETS: Mapping[str, Inference] = {
    "default": Inference(),
    "edge_answers_with_escalation": Inference(always_return_edge_prediction=True),
    "no_cloud": Inference(always_return_edge_prediction=True, disable_cloud_escalation=True),
    "disabled": Inference(enabled=False),
}


@dataclass(frozen=True)
class EdgeConfig:
    """`refresh_rate` in seconds between looks for new models; `confident_audit_rate` from 0 to 1;
    `detectors`: id → name of its entry in `inference`. Others are answered by `default`."""

    refresh_rate: float = 60.0
    confident_audit_rate: float = 1e-5
    inference: Mapping[str, Inference] = field(default_factory=lambda: dict(PRESETS))
    detectors: Mapping[str, str] = field(default_factory=dict)

    def of(self, detector: str) -> Inference:
        return self.inference[self.detectors.get(detector, "default")]

    def as_json(self) -> dict[str, Any]:
        """What the SDK gets, and may put again."""
        return {
            "global_config": {
                "refresh_rate": self.refresh_rate,
                "confident_audit_rate": self.confident_audit_rate,
            },
            "edge_inference_configs": {
                name: asdict(entry) for name, entry in self.inference.items()
            },
            "detectors": [
                {"detector_id": detector, "edge_inference_config": name}
                for detector, name in self.detectors.items()
            ],
        }

    def as_yaml(self) -> str:
        """The same as a file; JSON is YAML."""
        return json.dumps(self.as_json(), indent=2) + "\n"


def parse(text: str, file: str) -> EdgeConfig:
    """The configuration in `text`, YAML or JSON. Raises ConfigError with the place."""
    top = read(text, file, "the edge configuration")
    shared = top.inside("global_config", "global_config")
    inference = dict(PRESETS)
    for name, entry in top.named("edge_inference_configs", "the edge inference configuration"):
        inference[name.text] = _inference(entry, PRESETS.get(name.text, Inference()))
    config = EdgeConfig(
        refresh_rate=shared.number("refresh_rate", 60.0, above=0, high=86400),
        confident_audit_rate=shared.number("confident_audit_rate", 1e-5, low=0, high=1),
        inference=inference,
        detectors=_detectors(top, inference),
    )
    shared.done()
    top.done()
    return config


def _inference(entry: Fields, base: Inference) -> Inference:
    found = Inference(
        enabled=entry.flag("enabled", base.enabled),
        always_return_edge_prediction=entry.flag(
            "always_return_edge_prediction", base.always_return_edge_prediction
        ),
        disable_cloud_escalation=entry.flag(
            "disable_cloud_escalation", base.disable_cloud_escalation
        ),
        min_time_between_escalations=entry.number(
            "min_time_between_escalations", base.min_time_between_escalations, above=0
        ),
    )
    entry.done()
    if found.disable_cloud_escalation and not found.always_return_edge_prediction:
        entry.fail(
            entry.place("disable_cloud_escalation"),
            "disable_cloud_escalation needs always_return_edge_prediction: true",
        )
    return found


def _detectors(top: Fields, inference: Mapping[str, Inference]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in top.each("detectors", "a detector"):
        identity = entry.text("detector_id")
        name = entry.text("edge_inference_config")
        entry.done()
        if not ids.DETECTOR.fullmatch(identity):
            entry.fail(
                entry.place("detector_id"), f"{identity!r} is not det_ and 27 letters and digits"
            )
        if identity in found:
            entry.fail(entry.place("detector_id"), f"the detector {identity} stands twice")
        if name not in inference:
            entry.fail(
                entry.place("edge_inference_config"),
                f"there is no edge inference configuration {name!r}.{meant(name, list(inference))}",
            )
        found[identity] = name
    return found


def read_config(given: Path | None, kept: Path) -> EdgeConfig:
    """The configuration in force: the kept one, set while running; else the given file's.

    Raises ConfigError.
    """
    for path in (kept, given):
        if path is not None and path.is_file():
            try:
                return parse(path.read_text(encoding="utf-8"), str(path))
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path} can't be read: {error}.") from None
    if given is not None:
        raise ConfigError(
            f"{given}, the edge configuration, is not there.",
            remedy="Correct --config, or leave it out: then each detector has the preset default.",
        )
    return EdgeConfig()
