"""The kubelet's own configuration files: what its flags don't say, and what has no flag."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardtack.core.errors import ConfigError
from hardtack.core.yamlerrors import told
from hardtack.deploy.facts.unreadable import unreadable

_REMEDY = "The kubelet wouldn't start: mend it."
DROP_INS = Path("var/lib/rancher/k3s/agent/etc/kubelet.conf.d")
"""k3s's own file lies there too, and whoever sets a field adds one (k3s 1.32 and later)."""
MAXIMUM_AGE = "imageMaximumGCAge"
NEVER = ("0s", "0", "")
"""How the kubelet is told that no image is too old."""
NO_FLAG = "image-maximum-gc-age"
"""What the kubelet's flag for MAXIMUM_AGE would be called; it has none."""
CREDENTIALS = "imagePullCredentialsVerificationPolicy"
ALLOWED = "preloadedImagesVerificationAllowlist"
GATES = "feature-gates"
PODS = "pod-manifest-path"
PODS_OF_A_SERVER = "manifest-url"
_FLAGS = {
    "imageGCHighThresholdPercent": "image-gc-high-threshold",
    "evictionHard": "eviction-hard",
    "resolvConf": "resolv-conf",
    "featureGates": GATES,
    "staticPodPath": PODS,
    "staticPodURL": PODS_OF_A_SERVER,
}
_FIELDS = (MAXIMUM_AGE, CREDENTIALS, ALLOWED)


def read(root: Path, flags: Mapping[str, str]) -> dict[str, str]:
    """What the kubelet goes by, of what is looked at here: by flag, and by field what has none.
    Raises ConfigError."""
    found: dict[str, str] = {}
    for file in _files(root, flags):
        for field, value in _document(file).items():
            if value is not None and (field in _FLAGS or field in _FIELDS):
                found[_FLAGS.get(field, field)] = _text(field, value)
    gates = [each for each in (found.get(GATES), flags.get(GATES)) if each]
    return found | dict(flags) | ({GATES: ",".join(gates)} if gates else {})


def _files(root: Path, flags: Mapping[str, str]) -> list[Path]:
    """The later goes first, as with the kubelet: its file, then the drop-ins by name."""
    named = root / flags["config"].lstrip("/") if flags.get("config") else None
    directory = root / flags.get("config-dir", str(DROP_INS)).lstrip("/")
    found = os.walk(directory, onerror=_refuse)
    drop_ins = sorted(Path(at, name) for at, _, names in found for name in names)
    return [*([named] if named else []), *(f for f in drop_ins if f.suffix == ".conf")]


def _refuse(error: OSError) -> None:
    """What can't be looked into isn't passed over; where nothing is, nothing is said."""
    if not isinstance(error, FileNotFoundError):
        raise unreadable(Path(error.filename), error, _REMEDY)


def _document(file: Path) -> Mapping[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{told(error, str(file))}.", remedy=_REMEDY) from None
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error, _REMEDY) from None
    if not isinstance(document, dict):
        raise ConfigError(f"{file} must hold settings by name.", remedy=_REMEDY)
    return document


def _text(field: str, value: Any) -> str:
    """As the flag would have it."""
    if isinstance(value, dict):
        sign = "=" if field == "featureGates" else "<"
        return ",".join(f"{name}{sign}{limit}" for name, limit in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
