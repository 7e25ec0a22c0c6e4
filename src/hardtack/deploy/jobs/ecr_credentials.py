"""A pull secret for ECR, renewed before its tokens end; kept as it is while AWS is out of reach.

A box whose images are preloaded starts without it. It is for what is pulled later on.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hardtack.core.backoff import Stagger
from hardtack.core.errors import (
    AccessDenied,
    ConfigError,
    HardtackError,
    SourceUnreachable,
)
from hardtack.endpoint.backends.kubernetes.client import SECRETS, Cluster
from hardtack.images.auth import Credentials

log = logging.getLogger(__name__)

SECRET = "registry-credentials"
_TYPE = "kubernetes.io/dockerconfigjson"
_KEY = ".dockerconfigjson"
RETRY_SECONDS = 300.0

Ask = Callable[[str], Credentials | None]
"""A registry's credentials; raises SourceUnreachable offline, AccessDenied where AWS refuses."""


@dataclass(frozen=True)
class Target:
    """The secret, and the registries that it is for."""

    registries: tuple[str, ...]
    namespace: str
    name: str = SECRET


@dataclass(frozen=True)
class Refreshed:
    """Registries by what became of them; those not renewed keep their older entry, if any."""

    renewed: tuple[str, ...]
    offline: Mapping[str, str]
    refused: Mapping[str, HardtackError]

    @property
    def whole(self) -> bool:
        return not self.offline and not self.refused


def refresh(target: Target, cluster: Cluster, ask: Ask) -> Refreshed:
    """Ask for each registry and write what came into the secret; entries of others stay.

    Raises ClusterError, ConfigError (the secret is of another type).
    """
    fresh: dict[str, Credentials] = {}
    offline: dict[str, str] = {}
    refused: dict[str, HardtackError] = {}
    for registry in target.registries:
        try:
            found = ask(registry)
        except SourceUnreachable as error:
            offline[registry] = error.message
        except AccessDenied as error:
            refused[registry] = error
        else:
            if found is None:
                refused[registry] = ConfigError(
                    f"{registry} is not an ECR registry, or nothing here can ask for its token.",
                    remedy="Write it like 123456789012.dkr.ecr.us-west-2.amazonaws.com, and "
                    "install hardtack[aws].",
                )
            else:
                fresh[registry] = found
    if fresh:
        _write(target, cluster, fresh)
    return Refreshed(tuple(fresh), offline, refused)


def run(
    target: Target, cluster: Cluster, ask: Ask, every: float, stop: threading.Event
) -> None:  # fmt: skip
    """Refresh every `every` seconds until `stop`; sooner again after a failure. Never raises."""
    while not stop.is_set():
        wait = Stagger(every).next()
        try:
            if not report(target, refresh(target, cluster, ask)).whole:
                wait = min(wait, Stagger(RETRY_SECONDS).next())
        except HardtackError as error:
            log.error("the pull secret %s stays as it is: %s", target.name, error)
            wait = min(wait, Stagger(RETRY_SECONDS).next())
        stop.wait(wait)


def report(target: Target, done: Refreshed) -> Refreshed:
    """Log what became of each registry."""
    for registry in done.renewed:
        log.info("%s: the pull secret %s/%s is renewed", registry, target.namespace, target.name)
    for registry, reason in done.offline.items():
        log.warning(
            "%s: offline, the pull secret %s/%s stays as it is (images on the box need none): %s",
            registry, target.namespace, target.name, reason,
        )  # fmt: skip
    for error in done.refused.values():
        log.error("%s", error)
    return done


def merged(old: Mapping[str, Any], fresh: Mapping[str, Credentials]) -> dict[str, Any]:
    """Docker's configuration `old` with the entries of `fresh` renewed."""
    given = old.get("auths")
    auths = dict(given) if isinstance(given, Mapping) else {}
    for registry, credentials in fresh.items():
        auths[registry] = {
            "username": credentials.user,
            "password": credentials.password,
            "auth": credentials.basic.removeprefix("Basic "),
        }
    return {**old, "auths": dict(sorted(auths.items()))}


def _write(target: Target, cluster: Cluster, fresh: Mapping[str, Credentials]) -> None:
    found = cluster.get(SECRETS, target.name)
    if found is None:
        cluster.create(SECRETS, _secret(target, merged({}, fresh)))
        return
    if found.get("type") != _TYPE:
        raise ConfigError(
            f"The secret {target.namespace}/{target.name} is of type {found.get('type')!r}; "
            f"expected {_TYPE}.",
            remedy="Name another with --secret, or delete that one.",
        )
    body = merged(_document(found), fresh)
    cluster.patch(SECRETS, target.name, {"data": {_KEY: _encode(body)}})


def _secret(target: Target, document: Mapping[str, Any]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "hardtack", "app.kubernetes.io/component": "credentials"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": target.name, "namespace": target.namespace, "labels": labels},
        "type": _TYPE,
        "data": {_KEY: _encode(document)},
    }


def _document(secret: Mapping[str, Any]) -> dict[str, Any]:
    """What the secret holds now; nothing where that is no JSON object."""
    try:
        found = json.loads(base64.b64decode(secret["data"][_KEY]))
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _encode(document: Mapping[str, Any]) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def checked(registries: Sequence[str]) -> tuple[str, ...]:
    """Registries, none twice. Raises ConfigError for none at all."""
    found = tuple(
        dict.fromkeys(r.strip() for one in registries for r in one.split(",") if r.strip())
    )
    if not found:
        raise ConfigError("No registry is named.", remedy="Give --registry, or leave the job out.")
    return found
