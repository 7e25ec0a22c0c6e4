"""The cluster in small: what is deployed, its Deployments' and DaemonSets' pods, its Services.

Each workload has one pod. A Deployment that changes gets a new pod beside the old one, which goes
when the new one is ready (RollingUpdate with maxSurge 1), or first (Recreate). What is deployed
outlives a power cut, as k3s's database does; pods don't.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Iterable
from pathlib import Path

from drill.box import Box
from drill.network import API, Network
from drill.pods import NAMESPACE, Kubelet, Pod, PodError
from drill.volumes import Manifest

_WORKLOADS = ("DaemonSet", "Deployment")
Key = tuple[str, str]


class Cluster:
    """`objects` by kind and name. Every change is told to `changed` waiters."""

    def __init__(self, box: Box, network: Network, authority: bytes) -> None:
        self._box = box
        self._network = network
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self.version = 1
        self.objects: dict[Key, Manifest] = {}
        self.kubelet = Kubelet(box, self.objects)
        self.pods: dict[Key, Pod] = {}
        self.failed: dict[Key, str] = {}
        self._shown: dict[Key, str] = {}
        self._starting: dict[Key, threading.Thread] = {}
        self._events: list[tuple[int, Manifest]] = []
        self._number = 0
        self._on = False
        self.apply([{
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kube-root-ca.crt", "namespace": NAMESPACE},
            "data": {"ca.crt": authority.decode()},
        }])  # fmt: skip

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Deploy; workloads that changed get new pods, when the cluster is up."""
        with self.changed:
            for manifest in manifests:
                self.put(manifest)

    def put(self, manifest: Manifest) -> Manifest:
        """Make or replace one object; it as the cluster has it now."""
        key = (manifest["kind"], manifest["metadata"]["name"])
        with self.changed:
            known = self.objects.get(key, {})
            meta = manifest["metadata"]
            meta.setdefault("namespace", NAMESPACE)
            meta["uid"] = known.get("metadata", {}).get("uid", f"uid-{self.version + 1}")
            before = known.get("metadata", {}).get("generation", 0)
            meta["generation"] = before + (known.get("spec") != manifest.get("spec"))
            if manifest["kind"] == "Service":
                spec = manifest["spec"]
                number = int.from_bytes(hashlib.sha256(key[1].encode()).digest()[:2], "big")
                address = f"10.43.{1 + number % 250}.{1 + number // 256}"
                spec["clusterIP"] = known.get("spec", {}).get("clusterIP", address)
            self.objects[key] = manifest
            self._tell("MODIFIED" if known else "ADDED", manifest)
        self._follow(key)
        return manifest

    def remove(self, key: Key) -> None:
        """Take one object out; its pod with it."""
        with self.changed:
            if key not in self.objects:
                return
            self._tell("DELETED", self.objects.pop(key))
            pod = self.pods.pop(key, None)
        self._serve()
        if pod is not None:
            self._end(pod)

    def listed(self, kind: str, labels: dict[str, str]) -> tuple[list[Manifest], int]:
        """The objects of a kind with these labels, and the version that is."""
        with self.changed:
            found = [o for (k, _), o in self.objects.items() if k == kind and _has(o, labels)]
            return copy.deepcopy(found), self.version

    def events_after(
        self, version: int, kind: str, labels: dict[str, str], seconds: float
    ) -> list[tuple[int, Manifest]]:
        """What happened to such objects since, with its version; waits for it for some time."""

        def found() -> list[tuple[int, Manifest]]:
            return [
                (number, event) for number, event in self._events
                if number > version and event["object"]["kind"] == kind
                and _has(event["object"], labels)
            ]  # fmt: skip

        with self.changed:
            self.changed.wait_for(found, seconds)
            return found()

    def _tell(self, what: str, manifest: Manifest) -> None:
        """Give an object that changed its version, and tell those who watch. Under the lock."""
        self.version += 1
        manifest["metadata"]["resourceVersion"] = str(self.version)
        self._events.append((self.version, {"type": what, "object": copy.deepcopy(manifest)}))
        self.changed.notify_all()

    def up(self) -> None:
        """Start what is deployed; returns when the pods that the deployment names are ready.

        Raises PodError.
        """
        self._on = True
        for kind in _WORKLOADS:
            keys = [key for key in self.objects if key[0] == kind]
            for key in keys:
                self._follow(key)
            if kind == "DaemonSet":
                self.wait(keys)
        self.wait([key for key in self.objects if key[0] in _WORKLOADS])

    def down(self) -> None:
        """The power is gone, and the pods with it."""
        self._on = False
        for thread in list(self._starting.values()):
            thread.join()
        with self._lock:
            for pod in list(self.pods.values()):
                self.remove(("Pod", pod.name))
            self.pods.clear()
            self._shown.clear()
            self.failed.clear()

    def wait(self, keys: Iterable[Key]) -> None:
        """Until these workloads' pods are ready. Raises PodError."""
        for key in keys:
            while (thread := self._starting.get(key)) is not None:
                thread.join()
            if key in self.failed:
                raise PodError(self.failed[key])

    def evict(self, name: str) -> str:
        """Delete a workload's pod, and start another; their names when that is ready."""
        key = next(k for k in self.pods if k[1] == name)
        with self._lock:
            pod = self.pods.pop(key)
            self._shown.pop(key)
        self._end(pod)
        self._follow(key)
        self.wait([key])
        return f"{pod.name} gone, {self.pods[key].name} come"

    def address(self, service: str) -> str:
        """The address of a Service."""
        address: str = self.objects["Service", service]["spec"]["clusterIP"]
        return address

    def _follow(self, key: Key) -> None:
        """Bring a workload's pod, and the Services, in line with what is deployed."""
        if not self._on:
            return
        if key[0] == "Service":
            self._serve()
        if key[0] not in _WORKLOADS:
            return
        with self._lock:
            if key in self._starting or self._wanted(key) == self._shown.get(key):
                return
            thread = threading.Thread(target=self._roll, args=(key,), daemon=True)
            self._starting[key] = thread
        thread.start()

    def _wanted(self, key: Key) -> str:
        spec = self.objects[key]["spec"] if key in self.objects else {}
        if spec.get("updateStrategy", {}).get("type") == "OnDelete" and key in self._shown:
            return self._shown[key]
        return json.dumps([spec.get("replicas", 1), spec.get("template")], sort_keys=True)

    def _roll(self, key: Key) -> None:
        """Pods for what is deployed now, until that is what runs."""
        while True:
            with self._lock:
                wanted = self._wanted(key)
                if not self._on or wanted == self._shown.get(key) or key not in self.objects:
                    self._starting.pop(key)
                    return
                spec = self.objects[key]["spec"]
                old = self.pods.get(key)
                self._number += 1
                name = f"{key[1]}-{self._number}"
            gone = not spec.get("replicas", 1)
            if old and (gone or spec.get("strategy", {}).get("type") == "Recreate"):
                self._stop(key, old)
                old = None
            made = None
            if not gone:
                self._show(name, spec["template"]["metadata"], ready=False)
            try:
                made = None if gone else self.kubelet.start(name, spec["template"]["spec"])
            except Exception as error:  # noqa: BLE001 - told by `wait`, and in the object's status
                self.failed[key] = f"{name}: {error}"
                self.remove(("Pod", name))
            with self._lock:
                self._shown[key] = wanted
                if made is not None:
                    self.failed.pop(key, None)
                    self.pods[key] = made
            self._report(key)
            self._serve()
            if made:
                self._show(name, spec["template"]["metadata"], ready=True)
            if old and made:
                self._end(old)

    def _stop(self, key: Key, pod: Pod) -> None:
        with self._lock:
            self.pods.pop(key, None)
        self._report(key)
        self._serve()
        self._end(pod)

    def _end(self, pod: Pod) -> None:
        self.remove(("Pod", pod.name))
        self.kubelet.stop(pod)

    def _show(self, name: str, meta: Manifest, *, ready: bool) -> None:
        """The pod as an object."""
        self.put({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {**copy.deepcopy(meta), "name": name},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": str(ready)}]},
        })  # fmt: skip

    def _report(self, key: Key) -> None:
        """The workload's status, as its controller writes it."""
        with self.changed:
            found = self.objects.get(key)
            if found is None:
                return
            ready = int(key in self.pods and key not in self.failed)
            found["status"] = {
                "observedGeneration": found["metadata"]["generation"],
                "replicas": ready, "updatedReplicas": ready, "readyReplicas": ready,
                "availableReplicas": ready,
                "conditions": [{"type": "Available", "status": str(bool(ready))}],
            }  # fmt: skip
            self._tell("MODIFIED", found)

    def _serve(self) -> None:
        """Each Service's address goes to the pod that it selects, by its names too."""
        with self._lock:
            names: dict[str, str] = {"kubernetes.default.svc": API[0]}
            to: dict[tuple[str, int], tuple[str, int]] = {}
            for (kind, name), service in self.objects.items():
                if kind != "Service":
                    continue
                spec = service["spec"]
                address = spec["clusterIP"]
                for end in ("", f".{NAMESPACE}", f".{NAMESPACE}.svc",
                            f".{NAMESPACE}.svc.cluster.local"):  # fmt: skip
                    names[name + end] = address
                for pod in self._selected(spec.get("selector") or {}):
                    for port in spec["ports"]:
                        target = port.get("targetPort", port["port"])
                        to[address, port["port"]] = (pod.address, _number(pod, target))
            self._network.serve(to)
            self.kubelet.resolve(names)

    def _selected(self, selector: Manifest) -> list[Pod]:
        found = []
        for key, pod in self.pods.items():
            if key in self.objects:
                labels = self.objects[key]["spec"]["template"]["metadata"]["labels"]
                if selector.items() <= labels.items():
                    found.append(pod)
        return found


def _has(manifest: Manifest, labels: dict[str, str]) -> bool:
    """Whether an object carries these labels."""
    carried: dict[str, str] = manifest["metadata"].get("labels", {})
    return labels.items() <= carried.items()


def _number(pod: Pod, port: int | str) -> int:
    """A port of the pod by its number or its name."""
    if isinstance(port, int):
        return port
    ports = [p for c in pod.spec["containers"] for p in c.get("ports", ())]
    return int(next(p["containerPort"] for p in ports if p["name"] == port))


def write(manifests: list[Manifest], directory: Path) -> None:
    """The manifests as k3s finds them on the box's disk."""
    import yaml

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hardtack.yaml").write_text(yaml.safe_dump_all(manifests))
