"""Pods out of Kubernetes' manifests, started through containerd's CRI: a kubelet in small.

It does what the drill's manifests ask: host paths, ConfigMaps, Secrets and empty directories as
volumes with their propagation, environment, security context, init and native sidecar containers,
start-up probes by command and HTTP. Field numbers are those of Kubernetes' `runtime/v1/api.proto`.
"""

from __future__ import annotations

import base64
import http.client
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.containerd import Cri

from hardtack.images.wire import Value, encode, encode_map

Manifest = dict[str, Any]
_PROPAGATION = {None: 0, "None": 0, "HostToContainer": 1, "Bidirectional": 2}
_NODE, _POD = 2, 0


@dataclass
class Pod:
    """A running pod; `containers` by name, in their order of starting."""

    name: str
    sandbox: str
    address: str
    containers: dict[str, str] = field(default_factory=dict)


class Kubelet:
    """Runs pods from `manifests` (ConfigMaps and Secrets are looked up there)."""

    def __init__(self, cri: Cri, directory: Path, root: Path, manifests: list[Manifest]) -> None:
        self._cri = cri
        self._directory = directory
        self._root = root
        self._known = {(m["kind"], m["metadata"]["name"]): m for m in manifests}
        self.hosts: dict[str, str] = {}

    def start(self, name: str, spec: Manifest) -> Pod:
        """A pod whose containers run; those with a start-up probe have passed it."""
        logs = self._directory / name / f"{time.monotonic_ns()}"
        logs.mkdir(parents=True)
        config = self._sandbox(name, spec, logs)
        sandbox = self._cri.call("RuntimeService/RunPodSandbox", (1, config)).text(1)
        status = self._cri.call("RuntimeService/PodSandboxStatus", (1, sandbox)).message(1)
        pod = Pod(name, sandbox, status.message(5).text(1) or "127.0.0.1")
        volumes = dict(self._volumes(name, spec))
        hosts = logs / "hosts"
        lines = [f"{address} {host}" for host, address in self.hosts.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        for container in spec.get("initContainers", ()):
            self._run(pod, config, container, volumes, hosts)
            if container.get("restartPolicy") == "Always":
                self._probe(pod, container)
            else:
                self._finish(pod, container["name"], logs)
        for container in spec["containers"]:
            self._run(pod, config, container, volumes, hosts)
        for container in spec["containers"]:
            self._probe(pod, container)
        return pod

    def stop(self, pod: Pod, *, grace: int = 20) -> None:
        """SIGTERM, then SIGKILL, the last started first; the pod is removed."""
        for container in reversed(pod.containers.values()):
            self._cri.call("RuntimeService/StopContainer", (1, container), (2, grace))
        self._cri.call("RuntimeService/StopPodSandbox", (1, pod.sandbox))
        self._cri.call("RuntimeService/RemovePodSandbox", (1, pod.sandbox))

    def execute(self, pod: Pod, container: str, *command: str) -> tuple[int, str]:
        """(exit code, output) of `command` in a container."""
        fields = [(1, pod.containers[container]), *((2, c) for c in command), (3, 30)]
        reply = self._cri.call("RuntimeService/ExecSync", *fields)
        output = reply.data(1) + reply.data(2)
        return reply.number(3), output.decode(errors="replace")

    def log(self, pod: Pod, container: str) -> str:
        """What a container has written."""
        logs = sorted((self._directory / pod.name).iterdir())[-1]
        return (logs / f"{container}.log").read_text()

    def _sandbox(self, name: str, spec: Manifest, logs: Path) -> bytes:
        network = _NODE if spec.get("hostNetwork") else _POD
        process = _NODE if spec.get("hostPID") else _POD
        options = encode([(1, network), (2, process)])
        privileged = any(
            c.get("securityContext", {}).get("privileged")
            for c in (*spec.get("initContainers", ()), *spec["containers"])
        )
        security = encode([(1, options), (6, int(privileged))])
        metadata = encode([(1, name), (2, f"uid-{time.monotonic_ns()}"), (3, "edge")])
        return encode(
            [(1, metadata), (2, name), (3, str(logs)), (8, encode([(2, security)])),
             *encode_map(6, {"drill": name})]
        )  # fmt: skip

    def _volumes(self, pod: str, spec: Manifest) -> Iterator[tuple[str, Path]]:
        for volume in spec.get("volumes", ()):
            name = volume["name"]
            made = self._directory / pod / "volumes" / name
            if "hostPath" in volume:
                host = self._root / volume["hostPath"]["path"].lstrip("/")
                if volume["hostPath"].get("type") == "DirectoryOrCreate":
                    host.mkdir(parents=True, exist_ok=True)
                yield name, host
            elif "configMap" in volume or "secret" in volume:
                self._write(made, volume)
                yield name, made
            elif "emptyDir" in volume:
                shutil.rmtree(made, ignore_errors=True)
                made.mkdir(parents=True)
                made.chmod(0o777)
                yield name, made
            else:
                raise ValueError(f"The drill's kubelet knows no volume like {volume}.")

    def _write(self, directory: Path, volume: Manifest) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            source, optional = volume["configMap"], volume["configMap"].get("optional")
            found = self._known.get(("ConfigMap", source["name"]))
        else:
            source, optional = volume["secret"], volume["secret"].get("optional")
            found = self._known.get(("Secret", source["secretName"]))
        if found is None:
            if not optional:
                raise ValueError(f"No manifest has what {volume} names.")
            return
        bodies = {k: v.encode() for k, v in found.get("data", {}).items()}
        if found["kind"] == "Secret":
            bodies = {k: base64.b64decode(v) for k, v in bodies.items()}
        bodies |= {k: v.encode() for k, v in found.get("stringData", {}).items()}
        for key, body in bodies.items():
            (directory / key).write_bytes(body)

    def _run(
        self, pod: Pod, config: bytes, container: Manifest, volumes: dict[str, Path], hosts: Path
    ) -> None:
        name = container["name"]
        fields: list[tuple[int, Value]] = [
            (1, encode([(1, name)])),
            (2, encode([(1, container["image"])])),
            *((3, word) for word in container.get("command", ())),
            *((4, word) for word in container.get("args", ())),
            *((6, encode([(1, key), (2, value)])) for key, value in self._env(pod, container)),
            (7, encode([(1, "/etc/hosts"), (2, str(hosts))])),
            *((7, _mount(mount, volumes)) for mount in container.get("volumeMounts", ())),
            (11, f"{name}.log"),
            (15, encode([(1, _resources(container)), (2, _security(container))])),
        ]
        made = self._cri.call(
            "RuntimeService/CreateContainer", (1, pod.sandbox), (2, encode(fields)), (3, config)
        ).text(1)
        pod.containers[name] = made
        self._cri.call("RuntimeService/StartContainer", (1, made))

    def _env(self, pod: Pod, container: Manifest) -> Iterator[tuple[str, str]]:
        own = {"metadata.name": pod.name, "metadata.namespace": "edge", "status.podIP": pod.address,
               "status.hostIP": "10.77.0.2", "spec.nodeName": "box"}  # fmt: skip
        for entry in container.get("env", ()):
            if "value" in entry:
                yield entry["name"], entry["value"]
            elif "fieldRef" in entry.get("valueFrom", {}):
                yield entry["name"], own[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            elif (value := self._referred(entry["valueFrom"])) is not None:
                yield entry["name"], value

    def _referred(self, source: Manifest) -> str | None:
        for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
            if key in source:
                found = self._known.get((kind, source[key]["name"]), {})
                plain = found.get("stringData", {}) | (
                    found.get("data", {}) if kind == "ConfigMap" else {}
                )
                return plain.get(source[key]["key"])
        raise ValueError(f"The drill's kubelet knows no value like {source}.")

    def _state(self, container: str) -> tuple[int, int]:
        """(state, exit code): 1 running, 2 exited."""
        status = self._cri.call("RuntimeService/ContainerStatus", (1, container)).message(1)
        return status.number(3), status.number(7)

    def _finish(self, pod: Pod, name: str, logs: Path) -> None:
        deadline = time.monotonic() + 60
        while (state := self._state(pod.containers[name]))[0] != 2:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pod.name}/{name} doesn't end")
            time.sleep(0.05)
        if state[1]:
            raise RuntimeError(f"{pod.name}/{name} ended with {state[1]}:\n{self.log(pod, name)}")

    def _probe(self, pod: Pod, container: Manifest) -> None:
        """Until the start-up (or else readiness) probe passes."""
        probe = container.get("startupProbe") or container.get("readinessProbe")
        name = container["name"]
        deadline = time.monotonic() + 120
        while probe and not self._passes(pod, name, probe):
            if self._state(pod.containers[name])[0] == 2 or time.monotonic() > deadline:
                raise RuntimeError(f"{pod.name}/{name} never starts:\n{self.log(pod, name)}")
            time.sleep(0.1)

    def _passes(self, pod: Pod, name: str, probe: Manifest) -> bool:
        if "exec" in probe:
            return self.execute(pod, name, *probe["exec"]["command"])[0] == 0
        get = probe["httpGet"]
        connection = http.client.HTTPConnection(pod.address, get["port"], timeout=2)
        try:
            connection.request("GET", get["path"])
            return connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()


def _mount(mount: Manifest, volumes: dict[str, Path]) -> bytes:
    host = volumes[mount["name"]]
    if "subPath" in mount:
        host = host / mount["subPath"]
    return encode([
        (1, mount["mountPath"]), (2, str(host)), (3, int(mount.get("readOnly", False))),
        (5, _PROPAGATION[mount.get("mountPropagation")]),
    ])  # fmt: skip


def _security(container: Manifest) -> bytes:
    context = container.get("securityContext", {})
    fields: list[tuple[int, Value]] = [
        (2, int(context.get("privileged", False))),
        (3, encode([(1, _POD)])),
        (7, int(context.get("readOnlyRootFilesystem", False))),
    ]
    if "runAsUser" in context:
        # Int64Value: user 0 is an empty message, which must be there all the same.
        user = context["runAsUser"]
        fields.append((5, encode([(1, user)]) if user else b"\x08\x00"))
    return encode(fields)


def _resources(container: Manifest) -> bytes:
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    return encode([(4, _bytes(limit) if limit else 0)])


def _bytes(quantity: str) -> int:
    for suffix, factor in (("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30)):
        if quantity.endswith(suffix):
            return int(float(quantity[:-2]) * factor)
    return int(quantity)
