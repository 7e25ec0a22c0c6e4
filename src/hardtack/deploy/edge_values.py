"""Values of a groundlight/edge-endpoint installation, as values of our chart.

Nothing is lost silently: each value of the file is kept, renamed, changed or dropped, with why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hardtack.core.typos import meant


class Outcome(StrEnum):
    KEPT = "kept"
    RENAMED = "renamed"
    CHANGED = "changed"
    ADDED = "added"
    DROPPED = "dropped"


@dataclass(frozen=True)
class Row:
    """What became of one value; `now` is its name here, or empty."""

    value: str
    outcome: Outcome
    now: str
    why: str


_KEPT = {
    "namespace", "fullnameOverride", "httpEnabled", "edgeEndpointPort", "edgeEndpointHttpsPort",
    "inferenceFlavor", "groundlightApiToken", "upstreamEndpoint", "awsRegion", "ecrRegistry",
    "s3Mount.bucket", "s3Mount.region", "s3Mount.mountPath", "s3Mount.cachePath",
    "inferenceDeployment.cpuThreads", "configFile", "k3sConfig.enabled",
    "k3sConfig.evictionHardPercent", "k3sConfig.evictionSoftPercent",
    "k3sConfig.evictionHardMinGB", "k3sConfig.evictionSoftMinGB",
    "k3sConfig.evictionGracePeriod", "networkHealer.enabled",
    "networkHealer.checkIntervalSeconds",
}  # fmt: skip
_RENAMED = {"groundlightEndpoint": "upstreamEndpoint"}
_OTHER_IMAGE = "it names edge-endpoint's image; ours is image.tag, else the chart's version"
_SECRET = (
    "keys belong into a Secret: make one with the file `credentials` and name it in "
    "s3Mount.credentialsSecret"
)
_LOGS = "logs are on stderr, as JSON with logFormat: json, for the collector of your choice"
_NO_LIMIT = (
    "nothing is given up while weights come, however slowly, and the old model answers meanwhile; "
    "inferenceDeployment.arrivalTime is how long no byte may come"
)
_DROPPED = {
    "modelUpdater.rolloutReadyTimeoutSeconds": _NO_LIMIT,
    "inferenceDeployment.startupProbe.failureThreshold": _NO_LIMIT,
    "imageTag": _OTHER_IMAGE,
    "edgeEndpointTag": _OTHER_IMAGE,
    "inferenceTag": "it names edge-endpoint's image; another inference image is inferenceImage",
    "useMinimalImage": "there is one image, and it is small",
    "awsAccessKeyId": _SECRET,
    "awsSecretAccessKey": _SECRET,
    "loggingMode": _LOGS,
    "persistentVolumeNameBase": "directories on the host are mounted as such: see paths.edge",
    "nameOverride": "fullnameOverride alone names things",
    "balena.deviceUuid": "nothing reads it: Balena labels its own logs with it",
}
_ABOVE = {
    "balena": _DROPPED["balena.deviceUuid"],
    "splunk": _LOGS,
    "cloudSplunk": _LOGS,
    "otel": _LOGS,
    "opentelemetry": _LOGS,
}
_OURS = "a placeholder: write here where your build of our one image is"
_LOCAL = "the tag dev means an image that this box alone has"
_UNKNOWN = "no such value is known of edge-endpoint; ours are in charts/hardtack/README.md"


def convert(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Row]]:
    """Our values, and a row for each of `given`'s."""
    values: dict[str, Any] = {}
    rows: list[Row] = []
    local = "dev" in (given.get("imageTag"), given.get("edgeEndpointTag"))
    for name, value in _leaves(given):
        row, put = _one(name, value)
        if name == "imagePullPolicy" and local:
            row = Row(name, Outcome.CHANGED, name, _LOCAL)
            put = "Never"
        rows.append(row)
        if row.now:
            _set(values, row.now, put)
    if "inferenceFlavor" not in values:
        values["inferenceFlavor"] = "gpu"
        why = "edge-endpoint's default, which here is cpu"
        rows.append(Row("inferenceFlavor", Outcome.ADDED, "inferenceFlavor", why))
    if local and "imagePullPolicy" not in values:
        values["imagePullPolicy"] = "Never"
        rows.append(Row("imagePullPolicy", Outcome.ADDED, "imagePullPolicy", _LOCAL))
    values["image"] = {"repository": "registry.example/hardtack"}
    rows.append(Row("image.repository", Outcome.ADDED, "image.repository", _OURS))
    return values, rows


def _leaves(given: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and value and name != "configFile":
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _one(name: str, value: Any) -> tuple[Row, Any]:
    if name in _CHANGES:
        return _CHANGES[name](name, value)
    if name in _KEPT:
        return Row(name, Outcome.KEPT, name, ""), value
    if name in _RENAMED:
        return Row(name, Outcome.RENAMED, _RENAMED[name], ""), value
    why = _DROPPED.get(name) or _ABOVE.get(name.partition(".")[0]) or _unknown(name)
    return Row(name, Outcome.DROPPED, "", why), None


def _unknown(name: str) -> str:
    """Why a value is dropped that edge-endpoint hasn't either: most often its name is mistyped."""
    known = {*_KEPT, *_RENAMED, *_DROPPED, *_CHANGES}
    if below := sorted(one for one in known if one.startswith(f"{name}.")):
        return f"values by name are expected there, such as {below[0]}"
    if near := meant(name, known):
        return f"no such value is known of edge-endpoint. {near}"
    return _UNKNOWN


def _pull_policy(name: str, value: Any) -> tuple[Row, Any]:
    if value == "Always":
        why = "Always needs a registry at every start; an image here has one version for good"
        return Row(name, Outcome.CHANGED, name, why), "IfNotPresent"
    return Row(name, Outcome.KEPT, name, ""), value


def _log_level(name: str, value: Any) -> tuple[Row, Any]:
    level = {"critical": "error", "warn": "warning"}.get(str(value).lower(), str(value).lower())
    if level == value:
        return Row(name, Outcome.KEPT, name, ""), value
    return Row(name, Outcome.CHANGED, name, f"written {level} here"), level


def _configuration(name: str, value: Any) -> tuple[Row, Any]:
    if isinstance(value, Mapping):
        import yaml

        text = yaml.safe_dump(dict(value), sort_keys=False) if value else ""
        return Row(name, Outcome.CHANGED, name, "its text, as --set-file gives it"), text
    return Row(name, Outcome.KEPT, name, ""), value or ""


_CHANGES: dict[str, Callable[[str, Any], tuple[Row, Any]]] = {
    "imagePullPolicy": _pull_policy,
    "logLevel": _log_level,
    "configFile": _configuration,
}


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    *above, last = name.split(".")
    for part in above:
        values = values.setdefault(part, {})
    values[last] = value
