"""The Deployment and the Service of a detector's model, and the rights to have them.

Pure functions; docs/adr/0017-kubernetes-backend.md says why they look as they do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.endpoint.backends.kubernetes.client import DEPLOYMENTS, PODS, SERVICES, Object
from hardtack.endpoint.backends.telling import describing, offline, serving
from hardtack.endpoint.backends.versions import Version
from hardtack.endpoint.servers import Program

PORT = 8000
EXAMINER_PORT = 18000
"""One that other programs don't take: a pod's containers share theirs."""
MANAGER = "hardtack"
DETECTOR = "hardtack.dev/detector"
VERSION = "hardtack.dev/version"
IDENTITY = "hardtack.dev/identity"
HASH = "hardtack.dev/hash"
OWNED = f"app.kubernetes.io/managed-by={MANAGER},app.kubernetes.io/component=inference"
_USER = 65532
_DRAIN = 10
GRACE = _DRAIN + 30
"""Seconds after which what is left of a deleted pod is killed."""
_LIFECYCLE = {"preStop": {"exec": {"command": ["sleep", str(_DRAIN)]}}}
"""Endpoints drain before a container is told to end; all of a pod's are at the same time."""
_EXAMINER = {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}}
"""It takes 30 MB, and its picture for the time that it is asked."""


@dataclass(frozen=True)
class Pods:
    """What every detector's pods have in common. `mount` is the host's path of the weights' mount;
    amounts of CPU and memory as Kubernetes writes them, empty for none."""

    image: str
    mount: Path
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    flavor: str = "cpu"
    runtime_class: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    pixels: int = 50_000_000
    answer: float = 30.0
    arrival: float = 600.0
    window: float = 0.0


def deployment_name(detector: str) -> str:
    return f"inferencemodel-primary-{_plain(detector)}"


def service_name(detector: str) -> str:
    return f"inference-service-primary-{_plain(detector)}"


def clashing(detectors: Iterable[str]) -> dict[str, str]:
    """The detectors that can't have names of their own, and why: those of Kubernetes, which are
    edge-endpoint's, know no upper case. Of such a group the first keeps the name."""
    owners: dict[str, str] = {}
    found: dict[str, str] = {}
    for detector in sorted(detectors):
        owner = owners.setdefault(_plain(detector), detector)
        if owner != detector:
            found[detector] = (
                f"The ids {owner} and {detector} differ by upper and lower case alone, which names "
                f"in Kubernetes don't: no server is run for {detector}. Disable one of the two in "
                "the edge configuration, or make its detector anew."
            )
    return found


def deployment(
    detector: str, version: Version, pods: Pods, program: Program | None = None
) -> Object:
    """The Deployment that serves a version."""
    spec = {
        "replicas": 1,
        "revisionHistoryLimit": 2,
        # How long a roll-out takes, the link says; nothing is to give it up meanwhile.
        "progressDeadlineSeconds": 2_147_483_647,
        "selector": {"matchLabels": _selector(detector)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "template": {
            "metadata": {
                "labels": {**_labels(detector), VERSION: version.label},
                "annotations": {IDENTITY: version.identity},
            },
            "spec": _pod(detector, version, pods, program),
        },
    }
    annotations = {IDENTITY: version.identity, HASH: _hash(spec)}
    return {
        "apiVersion": DEPLOYMENTS.version,
        "kind": DEPLOYMENTS.name,
        "metadata": {
            "name": deployment_name(detector),
            "labels": _labels(detector),
            "annotations": annotations,
        },
        "spec": spec,
    }


def service(detector: str) -> Object:
    """The Service that a detector is reached through."""
    spec = {
        "type": "ClusterIP",
        "selector": _selector(detector),
        "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
    }
    return {
        "apiVersion": SERVICES.version,
        "kind": SERVICES.name,
        "metadata": {
            "name": service_name(detector),
            "labels": _labels(detector),
            "annotations": {HASH: _hash(spec)},
        },
        "spec": spec,
    }


def rules() -> list[Object]:
    """The rights that the endpoint needs in its namespace, as a Role has them: no more."""
    managed = ["get", "list", "watch", "create", "update", "delete"]
    return [
        {"apiGroups": ["apps"], "resources": [DEPLOYMENTS.plural], "verbs": managed},
        {"apiGroups": [""], "resources": [SERVICES.plural], "verbs": managed},
        {"apiGroups": [""], "resources": [PODS.plural], "verbs": ["list", "watch"]},
    ]


def _pod(detector: str, version: Version, pods: Pods, program: Program | None) -> Object:
    environment = offline(pods.mount, pods.threads) | describing(detector, version)
    environment |= {"PORT": str(PORT), "HOME": "/tmp"}
    container: Object = {
        "name": "inference-server",
        "image": (program.image if program else "") or pods.image,
        "imagePullPolicy": pods.pull_policy,
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        **_probes(own=program is None),
        "lifecycle": _LIFECYCLE,
        "resources": _resources(pods),
        # The last words of a server that failed become the reason that people are told.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": program is None,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [_weights(pods), {"name": "tmp", "mountPath": "/tmp"}],
    }
    if program is None:
        container["args"] = [
            "inference", "serve",
            *serving(detector, version, pods.threads, pods.window, pods.flavor),
            "--host", "0.0.0.0", "--port", str(PORT), "--max-pixels", str(pods.pixels),
            "--answer-time", f"{pods.answer:g}s", "--arrival-time", f"{pods.arrival:g}s",
        ]  # fmt: skip
    elif program.command:
        container["command"] = list(program.command)
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # On a cluster detectors share the nodes out among them.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(p.split("=") for p in OWNED.split(","))},
            }
        ],
        "containers": [container],
        "volumes": [
            {"name": "weights", "hostPath": {"path": str(pods.mount.parent), "type": "Directory"}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }  # fmt: skip
    if program is not None:  # whom somebody else's image runs as is its own affair
        spec["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
        if version.primary.golden:
            spec["containers"].append(_examiner(version, pods))
    if pods.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pods.pull_secrets]
    if pods.runtime_class:
        spec["runtimeClassName"] = pods.runtime_class
    if pods.node_selector:
        spec["nodeSelector"] = dict(pods.node_selector)
    return spec


def _examiner(version: Version, pods: Pods) -> Object:
    """What asks another program's server the golden picture, as ours asks itself: the pod is ready
    when both containers are."""
    words = [
        "inference", "examine", "--model", str(version.primary.directory),
        "--server-port", str(PORT), "--host", "0.0.0.0", "--port", str(EXAMINER_PORT),
        "--answer-time", f"{pods.answer:g}s",
    ]  # fmt: skip
    if version.oodd:
        words += ["--oodd", str(version.oodd.directory)]
    return {
        "name": "examiner",
        "image": pods.image,
        "imagePullPolicy": pods.pull_policy,
        "args": words,
        "ports": [{"name": "examiner", "containerPort": EXAMINER_PORT, "protocol": "TCP"}],
        # At the first no the pod gets no pictures: its program may just have been started again.
        "readinessProbe": {
            "httpGet": {"path": "/health/ready", "port": "examiner"},
            "timeoutSeconds": 5, "periodSeconds": 1, "failureThreshold": 1,
        },
        # A pod that was deleted is sent pictures to as long as it is ready, and both make it so.
        "lifecycle": _LIFECYCLE,
        "resources": _EXAMINER,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [_weights(pods)],
    }  # fmt: skip


def _weights(pods: Pods) -> Object:
    """The mount itself comes and goes: one that comes back is seen through its parent."""
    return {
        "name": "weights",
        "mountPath": str(pods.mount.parent),
        "readOnly": True,
        "mountPropagation": "HostToContainer",
    }


def _probes(*, own: bool) -> Object:
    """Our server says of itself that it is live as long as its weights come, however slowly: no
    probe counts minutes. Of another program only what it says itself is known."""

    def get(path: str, **more: int) -> Object:
        return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 5, **more}

    # Until the port is open; over a cold mount Python and model.toml may take their time.
    startup = get("/health/live", periodSeconds=2, failureThreshold=300)
    liveness = get("/health/live", periodSeconds=10, failureThreshold=3 if own else 6)
    readiness = get("/health/ready", periodSeconds=2, failureThreshold=2)
    return {"startupProbe": startup, "livenessProbe": liveness, "readinessProbe": readiness}


def _resources(pods: Pods) -> Object:
    requests = {"cpu": pods.cpu_request, "memory": pods.memory_request}
    limits = {"cpu": pods.cpu_limit, "memory": pods.memory_limit}
    both = {"requests": requests, "limits": limits}
    kept = {name: {k: v for k, v in each.items() if v} for name, each in both.items()}
    return {name: each for name, each in kept.items() if each}


def _selector(detector: str) -> dict[str, str]:
    return {"app": "inference-server", DETECTOR: detector}


def _labels(detector: str) -> dict[str, str]:
    return {
        **_selector(detector),
        "app.kubernetes.io/name": "inference-server",
        "app.kubernetes.io/component": "inference",
        "app.kubernetes.io/managed-by": MANAGER,
    }


def _plain(detector: str) -> str:
    return detector.replace("_", "-").lower()


def _hash(spec: Object) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
