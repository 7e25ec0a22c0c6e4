"""The kubelet's credential helpers, each tried in a namespace with no network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.yamlerrors import told
from hardtack.deploy.facts.model import Helper

PATIENCE = 10.0
_CONFIG = "/var/lib/rancher/credentialprovider/config.yaml"
_PROGRAMS = "/var/lib/rancher/credentialprovider/bin"


def read(root: Path, settings: Mapping[str, str]) -> tuple[Helper, ...]:
    """The helpers that the kubelet is told of; it runs them before it pulls, and from 1.33 on
    before it starts a pod whose image is there."""
    config = root / settings.get("image-credential-provider-config", _CONFIG).lstrip("/")
    programs = root / settings.get("image-credential-provider-bin-dir", _PROGRAMS).lstrip("/")
    if not config.is_file():
        return ()
    return tuple(_try(provider, programs) for provider in _providers(config))


def _providers(config: Path) -> list[dict[str, object]]:
    import yaml

    try:
        document = yaml.safe_load(config.read_text(encoding="utf-8"))
        return [dict(provider) for provider in document["providers"]]
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{told(error, str(config))}.", remedy="The kubelet wouldn't start: mend it there."
        ) from None
    except (OSError, UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{config} is no configuration of credential providers: {error!r}.",
            remedy="The kubelet wouldn't start: mend it.",
        ) from None


def _try(provider: Mapping[str, object], programs: Path) -> Helper:
    name = str(provider.get("name", ""))
    program = programs / name
    if "/" in name or not os.access(program, os.X_OK):
        return Helper(name, error=f"{program} is not there, or no program")
    request = {
        "apiVersion": provider.get("apiVersion", "credentialprovider.kubelet.k8s.io/v1"),
        "kind": "CredentialProviderRequest",
        "image": "registry.invalid/none:1",
    }
    given = provider.get("args")
    arguments = [str(argument) for argument in given] if isinstance(given, list) else []
    alone = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            [*alone, "--", str(program), *arguments], start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        return Helper(name, error=f"it can't be tried: {error}")
    try:
        process.communicate(json.dumps(request).encode(), PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # what it started as well
        process.communicate()
        return Helper(name)
    return Helper(name, time.monotonic() - started)
