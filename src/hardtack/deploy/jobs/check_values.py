"""The values of an installation, looked at before anything of it starts.

Each check gives findings: the value's name, what was expected, what was found, what to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from hardtack.cache.api import parse_limit
from hardtack.core.errors import ConfigError, HardtackError
from hardtack.core.units import parse_duration, parse_size
from hardtack.deploy import registry_hosts
from hardtack.deploy.valuefiles import at
from hardtack.endpoint import edgeconfig, ids
from hardtack.endpoint.backends.telling import FLAVORS

_BUCKET = re.compile(
    r"(?!xn--|sthree-)(?!.*\.\.)(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
)
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d")
_RELEASE = re.compile(r"\S{1,200}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Finding:
    """What is wrong with one value."""

    value: str
    expected: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.value}: expected {self.expected}, found {self.found}. {self.remedy}".rstrip()


Values = Mapping[str, Any]
Check = Callable[[Values], Iterator[Finding]]


def check(values: Values) -> tuple[Finding, ...]:
    """All findings, in the order of the chart's values."""
    return tuple(finding for one in CHECKS for finding in one(values))


def _texts(values: Values) -> Iterator[Finding]:
    """Values that must be a text of a certain form."""
    rules: tuple[tuple[str, re.Pattern[str], str, str], ...] = (
        ("namespace", _NAME, "a name of letters, digits and -", "Choose another name."),
        (
            "s3Mount.bucket", _BUCKET, "a bucket's name alone (3 to 63 of a-z, 0-9, . and -)",
            "No s3:// and no path: a path is s3Mount.prefix.",
        ),
        ("s3Mount.region", _REGION, "an AWS region such as us-west-2", "See the bucket's page."),
        ("awsRegion", _REGION, "an AWS region such as us-west-2", "See the registry's name."),
        (
            "s3Mount.release", _RELEASE, "a release's name without blanks",
            "`hardtack releases` lists them.",
        ),
        ("s3Mount.credentialsSecret", _NAME, "a Secret's name", "Only the name: no path."),
        ("tlsSecret", _NAME, "a Secret's name", "Only the name: no path."),
        ("groundlightApiTokenSecret", _NAME, "a Secret's name", "Only the name: no path."),
    )  # fmt: skip
    for name, form, expected, remedy in rules:
        found = at(values, name)
        if found in (None, ""):
            continue
        if not isinstance(found, str):
            yield Finding(name, "a text", repr(found), "Quote it.")
        elif not form.fullmatch(found):
            yield Finding(name, expected, repr(found), remedy)


def _required(values: Values) -> Iterator[Finding]:
    mount = at(values, "s3Mount")
    if isinstance(mount, Mapping) and "bucket" in mount and not mount["bucket"]:
        yield Finding("s3Mount.bucket", "a bucket's name", "nothing", "Name the weights' bucket.")


def _choices(values: Values) -> Iterator[Finding]:
    rules = {
        "imagePullPolicy": ("IfNotPresent", "Never", "Always"),
        "inferenceFlavor": FLAVORS,
        "mount.kind": ("Sidecar", "DaemonSet", "None"),
        "mount.nativeSidecar": ("auto", "always", "never"),
        "service.type": ("NodePort", "ClusterIP", "LoadBalancer"),
        "logFormat": ("text", "json"),
    }
    for name, allowed in rules.items():
        found = at(values, name)
        if found not in (None, "", *allowed):
            yield Finding(name, " or ".join(allowed), repr(found), "")
    level = at(values, "logLevel")
    if level not in (None, "") and str(level).lower() not in ("debug", "info", "warning", "error"):
        yield Finding("logLevel", "debug, info, warning or error", repr(level), "")


_PATHS = (
    "s3Mount.mountPath", "s3Mount.cachePath", "paths.edge", "paths.device", "paths.queue",
    "mount.keeper.directory",
)  # fmt: skip


def _paths(values: Values) -> Iterator[Finding]:
    for name in _PATHS:
        found = at(values, name)
        if found in (None, ""):
            continue
        if not isinstance(found, str) or not _absolute(found):
            yield Finding(
                name, "an absolute path on the host, without . or .. in it", repr(found),
                "Write it from the root: /opt/…",
            )  # fmt: skip
    mount, cache = at(values, "s3Mount.mountPath"), at(values, "s3Mount.cachePath")
    if isinstance(mount, str) and isinstance(cache, str) and mount and cache:
        for inner, outer in ((cache, mount), (mount, cache)):
            if PurePosixPath(inner).is_relative_to(PurePosixPath(outer)):
                yield Finding(
                    "s3Mount.cachePath", "a directory beside s3Mount.mountPath, not in it",
                    repr(cache), "Leave it empty for one beside the mount.",
                )  # fmt: skip
                break
    if isinstance(mount, str) and _absolute(mount) and PurePosixPath(mount).parent == _ROOT:
        yield Finding(
            "s3Mount.mountPath", "a directory below one that pods can be given", repr(mount),
            "Readers mount its parent, which would be the whole host: /opt/models/mount, say.",
        )  # fmt: skip


_ROOT = PurePosixPath("/")


def _absolute(text: str) -> bool:
    plain = text.startswith("/") and not {"..", "."} & set(text.split("/"))
    return plain and text.isprintable()


def _addresses(values: Values) -> Iterator[Finding]:
    for name, example in (
        ("upstreamEndpoint", "https://api.groundlight.ai"),
        ("s3Mount.endpointUrl", "https://minio.example:9000"),
    ):
        found = at(values, name)
        if found in (None, ""):
            continue
        parts = urlsplit(found) if isinstance(found, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            yield Finding(name, f"an address such as {example}", repr(found), "")
        elif parts.password:
            yield Finding(
                name, "an address without a password", f"one of {parts.hostname} with one",
                "Credentials belong into a Secret.",
            )  # fmt: skip
    registry = at(values, "ecrRegistry")
    for one in str(registry).split(",") if registry else ():
        if registry_hosts.region_of(one.strip()) is None:
            yield Finding(
                "ecrRegistry", "hosts such as 123456789012.dkr.ecr.us-west-2.amazonaws.com",
                repr(one.strip()), "Leave it empty for registries that need no ECR token.",
            )  # fmt: skip


def _numbers(values: Values) -> Iterator[Finding]:
    rules: tuple[tuple[str, float, float, bool], ...] = (
        ("inferenceDeployment.cpuThreads", 1, 1024, True),
        ("mount.startupProbe.failureThreshold", 1, 100_000, True),
        ("replicas", 0, 1000, True),
        ("k3sConfig.evictionHardPercent", 1, 99, False),
        ("k3sConfig.evictionSoftPercent", 1, 99, False),
        ("k3sConfig.evictionHardMinGB", 0.1, 1e5, False),
        ("k3sConfig.evictionSoftMinGB", 0.1, 1e5, False),
        ("networkHealer.checkIntervalSeconds", 1, 86400, False),
    )
    for name, low, high, whole in rules:
        found = at(values, name)
        if found is None:
            continue
        kind = int if whole else (int, float)
        if isinstance(found, bool) or not isinstance(found, kind) or not low <= found <= high:
            what = "a whole number" if whole else "a number"
            yield Finding(name, f"{what} from {low:g} to {high:g}", repr(found), "")
    node_port = at(values, "service.type") in (None, "", "NodePort")
    low_port, high_port = (30000, 32767) if node_port else (1, 65535)
    for name in ("edgeEndpointPort", "edgeEndpointHttpsPort"):
        found = at(values, name)
        if found is None:
            continue
        if isinstance(found, bool) or not isinstance(found, int) or not (
            low_port <= found <= high_port
        ):  # fmt: skip
            yield Finding(
                name, f"a port from {low_port} to {high_port}", repr(found),
                "Node ports lie in that range." if node_port else "",
            )  # fmt: skip
    both = at(values, "edgeEndpointPort"), at(values, "edgeEndpointHttpsPort")
    if both[0] is not None and both[0] == both[1]:
        yield Finding("edgeEndpointPort", "another port than HTTPS has", repr(both[0]), "")


def _amounts(values: Values) -> Iterator[Finding]:
    for name, parse, example in (
        ("s3Mount.cacheSize", parse_limit, "40GiB"),
        ("s3Mount.keepFree", parse_size, "1GiB"),
        ("s3Mount.refreshInterval", parse_duration, "15m"),
        ("mount.keeper.grace", parse_duration, "10m"),
        ("ecrCredentials.interval", parse_duration, "4h"),
        ("k3sConfig.evictionGracePeriod", parse_duration, "10s"),
    ):
        found = at(values, name)
        if found in (None, ""):
            continue
        try:
            amount = parse(str(found))
        except ConfigError as error:
            yield Finding(name, f"an amount such as {example}", repr(found), error.remedy)
        else:
            if amount <= 0 and name != "s3Mount.keepFree":
                yield Finding(name, "more than 0", repr(found), "")
    interval = at(values, "ecrCredentials.interval")
    if isinstance(interval, str) and _seconds(interval) >= 12 * 3600:
        yield Finding(
            "ecrCredentials.interval", "less than 12 hours, which a token of ECR lives",
            repr(interval), "",
        )  # fmt: skip


def _thresholds(values: Values) -> Iterator[Finding]:
    """Values that must fit each other."""
    for unit in ("Percent", "MinGB"):
        hard, soft = at(values, f"k3sConfig.evictionHard{unit}"), at(
            values, f"k3sConfig.evictionSoft{unit}"
        )  # fmt: skip
        if _number(hard) and _number(soft) and soft < hard:
            yield Finding(
                f"k3sConfig.evictionSoft{unit}", f"at least {hard:g}, that of hard eviction",
                repr(soft), "Soft eviction comes first.",
            )  # fmt: skip
    replicas = at(values, "replicas")
    if _number(replicas) and replicas > 1 and at(values, "mount.kind") == "Sidecar":
        yield Finding(
            "replicas", "1 while the mount is a sidecar", repr(replicas),
            "More need mount.kind: DaemonSet.",
        )  # fmt: skip


def _configuration(values: Values) -> Iterator[Finding]:
    text = at(values, "configFile")
    if text is not None and not isinstance(text, str):
        yield Finding("configFile", "the edge configuration as text", type(text).__name__,
                      "Give it with --set-file configFile=edge-config.yaml.")  # fmt: skip
    elif text and "".join(text.split()) != "{}":
        try:
            edgeconfig.parse(text, "configFile")
        except HardtackError as error:
            yield Finding("configFile", "an edge configuration", error.message, error.remedy)
    detectors = at(values, "detectors")
    if detectors is None:
        return
    if not isinstance(detectors, list):
        yield Finding("detectors", "a list", type(detectors).__name__, "")
        return
    seen: set[str] = set()
    for number, entry in enumerate(detectors):
        name = f"detectors[{number}]"
        found = entry.get("id") if isinstance(entry, Mapping) else None
        if not isinstance(found, str) or not ids.DETECTOR.fullmatch(found):
            yield Finding(f"{name}.id", "det_ and 27 letters and digits", repr(found), "")
        elif found in seen:
            yield Finding(f"{name}.id", "each detector once", f"{found} twice", "Remove one.")
        else:
            seen.add(found)
        threshold = entry.get("confidence_threshold") if isinstance(entry, Mapping) else None
        if threshold is not None and not (_number(threshold) and 0 <= threshold <= 1):
            yield Finding(
                f"{name}.confidence_threshold", "a number from 0 to 1", repr(threshold), ""
            )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ConfigError:
        return 0.0


CHECKS: tuple[Check, ...] = (
    _required, _texts, _choices, _paths, _addresses, _numbers, _amounts, _thresholds,
    _configuration,
)  # fmt: skip
