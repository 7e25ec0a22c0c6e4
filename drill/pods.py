"""Pods out of Kubernetes' pod specs, started through containerd's CRI: a kubelet in small.

It does what the chart's pods ask: volumes with their propagation, environment, security contexts,
init and native sidecar containers, start-up and readiness probes by command and HTTP(S). Field
numbers are those of Kubernetes' `runtime/v1/api.proto`.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from drill import volumes
from drill.box import Box
from drill.network import API
from drill.volumes import Manifest, Objects
from hardtack.images.wire import Message, Value, encode, encode_map

NAMESPACE = "edge"
_PROPAGATION = {None: 0, "None": 0, "HostToContainer": 1, "Bidirectional": 2}
_POD, _CONTAINER, _NODE = 0, 1, 2
_RUNNING, _EXITED = 1, 2
_PATIENCE = 600.0
_RESTART = 10.0
"""Seconds before a container that ended is started again; doubled each time, as kubelets do it."""
_RESTARTS = 4


class PodError(RuntimeError):
    """A pod that doesn't become what it should; the message has its log."""


@dataclass
class Pod:
    """A running pod; `containers` by name, in their order of starting."""

    name: str
    spec: Manifest
    sandbox: str
    address: str
    config: bytes
    places: dict[str, str]
    containers: dict[str, str] = field(default_factory=dict)


class Kubelet:
    """Runs pods on `box`; their ConfigMaps and Secrets are looked up in `objects`."""

    def __init__(self, box: Box, objects: Objects) -> None:
        self._box = box
        self._objects = objects
        self._directory = box.directory / "kubelet"
        self._hosts = self._directory / "hosts"
        self._directory.mkdir(exist_ok=True)
        self.resolve({})

    def resolve(self, names: dict[str, str]) -> None:
        """Name → address, for all pods, those that run too: what CoreDNS does."""
        lines = [f"{address} {name}" for name, address in names.items()]
        text = "\n".join(["127.0.0.1 localhost", *lines, ""])
        self._hosts.write_text(text)  # in place: it is bound into running containers

    def start(self, name: str, spec: Manifest) -> Pod:
        """A pod whose containers run; those with a start-up or readiness probe have passed it."""
        logs = self._logs(name) / f"{time.monotonic_ns()}"
        logs.mkdir(parents=True)
        places = {
            volume["name"]: volumes.make(
                volume, self._directory / name / "volumes" / volume["name"], self._box.path,
                self._objects,
            )
            for volume in spec.get("volumes", ())
        }  # fmt: skip
        config = self._sandbox(name, spec, logs)
        sandbox = self._call("RunPodSandbox", (1, config)).text(1)
        pod = Pod(name, spec, sandbox, "127.0.0.1", config, places)
        try:
            status = self._call("PodSandboxStatus", (1, sandbox)).message(1)
            pod.address = status.message(5).text(1) or pod.address
            self._start_containers(pod)
        except Exception:
            if self._box.cri is not None:
                with contextlib.suppress(grpc.RpcError):  # the power may go at any time
                    self.stop(pod, grace=0)
            raise
        return pod

    def _start_containers(self, pod: Pod) -> None:
        for container in pod.spec.get("initContainers", ()):
            self._run(pod, container)
            if container.get("restartPolicy") == "Always":
                self._until_ready(pod, container, "startupProbe")
            else:
                self._until_done(pod, container["name"])
        for container in pod.spec["containers"]:
            self._run(pod, container)
        for container in pod.spec["containers"]:
            self._until_ready(pod, container, "startupProbe")
            self._until_ready(pod, container, "readinessProbe")

    def stop(self, pod: Pod, grace: int | None = None) -> None:
        """SIGTERM, then SIGKILL, the last started first; the pod is removed."""
        if grace is None:
            grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        for container in reversed(pod.containers.values()):
            self._call("StopContainer", (1, container), (2, grace))
        self._call("StopPodSandbox", (1, pod.sandbox))
        self._call("RemovePodSandbox", (1, pod.sandbox))

    def execute(self, pod: Pod, container: str, *command: str) -> tuple[int, str]:
        """(exit code, output) of `command` in a container."""
        words = [(2, word) for word in command]
        reply = self._call("ExecSync", (1, pod.containers[container]), *words, (3, 60))
        output = reply.data(1) + reply.data(2)
        return reply.number(3), output.decode(errors="replace")

    def log(self, pod: Pod, container: str) -> str:
        """What a container has written."""
        return (sorted(self._logs(pod.name).iterdir())[-1] / f"{container}.log").read_text()

    def _call(self, method: str, *fields: tuple[int, int | str | bytes]) -> Message:
        assert self._box.cri is not None
        return self._box.cri.call(f"RuntimeService/{method}", *fields)

    def _logs(self, pod: str) -> Path:
        return self._directory / pod / "logs"

    def _sandbox(self, name: str, spec: Manifest, logs: Path) -> bytes:
        network = _NODE if spec.get("hostNetwork") else _POD
        process = _NODE if spec.get("hostPID") else _CONTAINER
        options = encode([(1, network), (2, process)])
        privileged = any(
            c.get("securityContext", {}).get("privileged")
            for c in (*spec.get("initContainers", ()), *spec["containers"])
        )
        security = encode([(1, options), (6, int(privileged))])
        metadata = encode([(1, name), (2, f"uid-{time.monotonic_ns()}"), (3, NAMESPACE)])
        names = encode([(1, "10.43.0.10")])
        linux = encode([(1, self._box.group), (2, security)])
        return encode(
            [(1, metadata), (2, name), (3, str(logs)), (4, names), (8, linux),
             *encode_map(6, {"drill": name})]
        )  # fmt: skip

    def _run(self, pod: Pod, container: Manifest, attempt: int = 0) -> None:
        name = container["name"]
        fields: list[tuple[int, Value]] = [
            (1, encode([(1, name), (2, attempt)])),
            (2, encode([(1, container["image"])])),
            *((3, word) for word in container.get("command", ())),
            *((4, word) for word in container.get("args", ())),
            *((6, encode([(1, key), (2, value)])) for key, value in self._env(pod, container)),
            (7, encode([(1, "/etc/hosts"), (2, str(self._hosts))])),
            *((7, _mount(mount, pod.places)) for mount in container.get("volumeMounts", ())),
            (11, f"{name}.log"),
            (15, encode([(1, _resources(container)), (2, _security(pod.spec, container))])),
        ]
        made = self._call(
            "CreateContainer", (1, pod.sandbox), (2, encode(fields)), (3, pod.config)
        )  # fmt: skip
        pod.containers[name] = made.text(1)
        self._call("StartContainer", (1, made.text(1)))

    def _env(self, pod: Pod, container: Manifest) -> Iterator[tuple[str, str]]:
        address, port = API
        yield "KUBERNETES_SERVICE_HOST", address
        yield "KUBERNETES_SERVICE_PORT", str(port)
        own = {"metadata.name": pod.name, "metadata.namespace": NAMESPACE,
               "status.podIP": pod.address, "status.hostIP": "203.0.113.254",
               "spec.nodeName": "box"}  # fmt: skip
        for entry in container.get("env", ()):
            source = entry.get("valueFrom")
            if source is None:
                yield entry["name"], str(entry.get("value", ""))
            elif "fieldRef" in source:
                yield entry["name"], own[source["fieldRef"]["fieldPath"]]
            elif (value := self._referred(source)) is not None:
                yield entry["name"], value

    def _referred(self, source: Manifest) -> str | None:
        for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
            if key in source:
                asked = source[key]
                found = volumes.values(kind, asked["name"], asked, self._objects)
                return found[asked["key"]].decode() if asked["key"] in found else None
        raise ValueError(f"The drill's kubelet knows no value like {source}.")

    def _state(self, container: str) -> tuple[int, int]:
        """(state, exit code)."""
        status = self._call("ContainerStatus", (1, container)).message(1)
        return status.number(3), status.number(7)

    def _until_done(self, pod: Pod, name: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while (state := self._state(pod.containers[name]))[0] != _EXITED:
            if time.monotonic() > deadline:
                raise PodError(f"{pod.name}/{name} doesn't end:\n{self.log(pod, name)}")
            time.sleep(0.05)
        if state[1]:
            raise PodError(f"{pod.name}/{name} ended with {state[1]}:\n{self.log(pod, name)}")

    def _until_ready(self, pod: Pod, container: Manifest, kind: str) -> None:
        probe, name = container.get(kind), container["name"]
        deadline = time.monotonic() + _PATIENCE
        restarts = 0
        while probe and not self._passes(pod, name, probe):
            ended = self._state(pod.containers[name])[0] == _EXITED
            if time.monotonic() > deadline or (ended and restarts == _RESTARTS):
                raise PodError(f"{pod.name}/{name} never starts:\n{self.log(pod, name)}")
            if ended:
                time.sleep(_RESTART * 2**restarts)
                restarts += 1
                self._call("RemoveContainer", (1, pod.containers[name]))
                self._run(pod, container, restarts)
            time.sleep(0.1)

    def _passes(self, pod: Pod, name: str, probe: Manifest) -> bool:
        if "exec" in probe:
            try:
                return self.execute(pod, name, *probe["exec"]["command"])[0] == 0
            except grpc.RpcError:
                return False  # the container ends meanwhile
        get = probe["httpGet"]
        connection = _connection(pod, get)
        try:
            connection.request("GET", get["path"])
            return connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _connection(pod: Pod, get: Manifest) -> http.client.HTTPConnection:
    port = get["port"]
    if isinstance(port, str):
        ports = [p for c in pod.spec["containers"] for p in c.get("ports", ())]
        port = next(p["containerPort"] for p in ports if p["name"] == port)
    if get.get("scheme") == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(pod.address, port, timeout=2, context=context)
    return http.client.HTTPConnection(pod.address, port, timeout=2)


def _mount(mount: Manifest, places: dict[str, str]) -> bytes:
    host = places[mount["name"]]
    if "subPath" in mount:
        host = f"{host}/{mount['subPath']}"
    return encode([
        (1, mount["mountPath"]), (2, host), (3, int(mount.get("readOnly", False))),
        (5, _PROPAGATION[mount.get("mountPropagation")]),
    ])  # fmt: skip


def _security(pod: Manifest, container: Manifest) -> bytes:
    context: dict[str, Any] = {
        **pod.get("securityContext", {}), **container.get("securityContext", {})
    }  # fmt: skip
    capabilities = context.get("capabilities", {})
    process = _NODE if pod.get("hostPID") else _CONTAINER
    fields: list[tuple[int, Value]] = [
        (1, encode([*((1, name) for name in capabilities.get("add", ())),
                    *((2, name) for name in capabilities.get("drop", ()))])),
        (2, int(context.get("privileged", False))),
        (3, encode([(2, process)])),
        (7, int(context.get("readOnlyRootFilesystem", False))),
        (11, int(not context.get("allowPrivilegeEscalation", True))),
    ]  # fmt: skip
    for number, name in ((5, "runAsUser"), (12, "runAsGroup")):
        if name in context:
            # Int64Value: 0 is an empty message, which must be there all the same.
            fields.append((number, encode([(1, context[name])]) if context[name] else b"\x08\x00"))
    return encode(fields)


def _resources(container: Manifest) -> bytes:
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    return encode([(4, _bytes(limit) if limit else 0)])


def _bytes(quantity: str) -> int:
    for suffix, factor in (("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)):
        if quantity.endswith(suffix):
            return int(float(quantity[: -len(suffix)]) * factor)
    return int(quantity)
