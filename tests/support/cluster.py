"""An emulated Kubernetes: kmock's API server, and a kubelet that runs what Deployments say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp.web
import attrs
from kmock import KubernetesEmulator, ResourceInfo

from hardtack.core.errors import ClusterError
from hardtack.endpoint.backends.asking import ask
from hardtack.endpoint.backends.kubernetes.access import Access
from hardtack.endpoint.backends.kubernetes.client import (
    DEPLOYMENTS,
    PODS,
    Cluster,
    Object,
)
from tests.support.commands import clean_environment
from tests.support.ports import free_port

KUBELET, ENDPOINT = "kubelet", "endpoint"
_BACK_OFF = 2.0
"""Seconds; a kubelet's grow from ten to three hundred."""
_LEAVES = 2.0
"""Seconds that a pod which was deleted answers on; in a cluster its `preStop` takes ten."""


@dataclass
class Fault:
    """Answer `status` to the endpoint's next `times` requests of this method and plural."""

    method: str
    plural: str
    status: int
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    watch: bool = False


@attrs.define(kw_only=True)
class Emulator(KubernetesEmulator):
    """Adds what kmock leaves out: resource versions with conflicts, label selectors, faults."""

    faults: list[Fault] = attrs.field(factory=list)
    late: float = 0.0
    """Seconds by which watches tell later what there is."""
    seen: list[tuple[str, str]] = attrs.field(factory=list)
    counter: int = 100
    addressed: Callable[[Object], None] = lambda _: None

    async def _handle(self, request: Any) -> aiohttp.web.StreamResponse:
        plural = str(request.resource.plural) if request.resource else ""
        watch = "watch" in request.params
        method = str(request.method.value)
        if f"Bearer {ENDPOINT}" in request.headers.get("Authorization", ""):
            self.seen.append(("watch" if watch else method, plural))
            for fault in self.faults:
                if (fault.method, fault.plural, fault.watch) == (method, plural, watch):
                    fault.times -= 1
                    self.faults = [f for f in self.faults if f.times > 0]
                    return _failed(fault)
        if request.data and method in ("POST", "PUT"):
            self.counter += 1
            metadata = request.data["metadata"]
            version = metadata.get("resourceVersion")
            metadata |= {"resourceVersion": str(self.counter), "namespace": request.namespace}
            metadata.setdefault("generation", 1)
            if method == "POST" and plural == "services":
                self.addressed(request.data)
            if method == "PUT":
                return await self._put(request, version)
        return await super()._handle(request)

    async def _put(self, request: Any, version: str | None) -> aiohttp.web.Response:
        """Replace an object, where it is still the version that was read."""
        every: Any = self._objects
        key = (request.resource, request.namespace, request.name)
        async with self._lock:
            if key not in every or every[key].deleted:
                return _failed(Fault("PUT", "", 404))
            if version not in (None, every[key].raw["metadata"]["resourceVersion"]):
                return _failed(Fault("PUT", "", 409))
            was = every[key].raw
            if was.get("spec") != request.data.get("spec"):
                request.data["metadata"]["generation"] = was["metadata"].get("generation", 0) + 1
            every[key].delete()
            every[key].create(request.data)
            raw = every[key].last.raw
            await self._buses[request.resource].put({"type": "MODIFIED", "object": raw})
        return aiohttp.web.json_response(raw)

    async def _serve_list(self, request: Any) -> Any:
        told: Any = await super()._serve_list(request)
        items = [body for body in told["items"] if _selected(request, body)]
        return {"items": items, "metadata": {"resourceVersion": str(self.counter)}}

    async def _serve_watch(self, request: Any) -> Any:
        event: Any
        async for event in _later(super()._serve_watch(request), self.late):
            if not isinstance(event, dict) or _selected(request, event["object"]):
                yield event


async def _later(events: AsyncIterator[Any], seconds: float) -> AsyncIterator[Any]:
    """Each event `seconds` after it came."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[float, Any]]()

    async def take() -> None:
        async for event in events:
            queue.put_nowait((loop.time() + seconds, event))

    taking = asyncio.create_task(take())
    try:
        while True:
            due, event = await queue.get()
            await asyncio.sleep(due - loop.time())
            yield event
    finally:
        taking.cancel()


def _selected(request: Any, body: Object) -> bool:
    text = request.params.get("labelSelector", "")
    selector = dict(part.split("=") for part in text.split(",") if part)
    return bool(selector.items() <= body["metadata"].get("labels", {}).items())


def _failed(fault: Fault) -> aiohttp.web.Response:
    status = {"kind": "Status", "code": fault.status, "message": f"scripted {fault.status}"}
    if fault.watch and fault.status == 410:
        event = {"type": "ERROR", "object": status}
        return aiohttp.web.Response(text=json.dumps(event) + "\n")
    return aiohttp.web.json_response(status, status=fault.status, headers=dict(fault.headers))


class _Listener:
    """An emulator's address."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", port), backlog=128)

    async def start(self, emulator: Emulator) -> None:
        server = aiohttp.web.Server(emulator, handler_cancellation=True)
        # Seconds that open watches are left.
        self._runner = aiohttp.web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await aiohttp.web.SockSite(self._runner, self._socket).start()

    async def close(self) -> None:
        """Hang up on every connection."""
        # asyncio loses, open, what it accepted when the server closes in the same turn.
        asyncio.get_running_loop().remove_reader(self._socket)
        for _ in range(5):
            await asyncio.sleep(0)
        await self._runner.cleanup()


class ApiServer:
    """The API server in a thread of its own, on one port; it can go away and come back."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api server")
        self._thread.start()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.emulator: Emulator = self._do(self._made())
        self._listener: _Listener | None = None
        self.come()

    async def _made(self) -> Emulator:
        emulator = Emulator()
        for plural in ("apps/v1/deployments", "v1/services", "v1/pods"):
            emulator.resources[plural] = ResourceInfo(namespaced=True)
        return await emulator.__aenter__()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def come(self) -> None:
        self._listener = _Listener(self.port)
        self._do(self._listener.start(self.emulator))

    def go(self) -> None:
        """Away, with every connection."""
        if self._listener is not None:
            self._do(self._listener.close())
            self._listener = None

    def close(self) -> None:
        self.go()
        self._do(self.emulator.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cluster(self, who: str) -> Cluster:
        return Cluster(Access(f"http://127.0.0.1:{self.port}", "edge", token=who))

    def kubeconfig(self, path: Path) -> Path:
        path.write_text(
            json.dumps(
                {
                    "current-context": "c",
                    "contexts": [
                        {
                            "name": "c",
                            "context": {"cluster": "k", "user": "u", "namespace": "edge"},
                        }
                    ],
                    "clusters": [
                        {"name": "k", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
                    ],
                    "users": [{"name": "u", "user": {"token": ENDPOINT}}],
                }
            )
        )
        return path


@dataclass
class _Container:
    process: subprocess.Popen[str]
    port: int
    log: Path
    restarts: int = 0
    last: Object = field(default_factory=dict)
    backs_off: float = 0.0

    @property
    def state(self) -> Object:
        if self.backs_off:
            return {"waiting": {"reason": "CrashLoopBackOff"}}
        return {"running": {}}


@dataclass
class _Run:
    """A pod: its containers by name, and the ports of this machine that theirs are."""

    ports: Mapping[int, int]
    containers: dict[str, _Container] = field(default_factory=dict)
    ready: bool = False
    until: float = 0.0
    """When it is to be gone, once it was deleted."""

    @property
    def server(self) -> _Container:
        return self.containers["inference-server"]

    @property
    def process(self) -> subprocess.Popen[str]:
        return self.server.process


class Kubelet:
    """Makes pods of Deployments, as their strategy says: the old one ends when the new is ready.

    A pod's containers are processes of this machine, run with what the pod names: the arguments of
    `hardtack`, or another program's command.
    `most`: the most pods of a Deployment at a time; `crowd`: of all together.
    """

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self._cluster = server.cluster(KUBELET)
        self._directory = directory
        self.runs: dict[str, _Run] = {}
        self.proxies: dict[str, _Proxy] = {}
        server.emulator.addressed = self._address
        self.most: dict[str, int] = {}
        self.crowd = 0
        self.problem: BaseException | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="kubelet")
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for run in self.runs.values():
            _end(run)
        for proxy in self.proxies.values():
            proxy.close()
        self.proxies.clear()
        self.runs.clear()
        self._cluster.close()
        if self.problem:
            raise self.problem

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                self._turn()
            except ClusterError as error:
                if error.status not in (0, 409):
                    self.problem = error
                    return
            except BaseException as error:  # noqa: BLE001 (raised where it is closed)
                self.problem = error
                return
            self._ended.wait(0.05)

    def _turn(self) -> None:
        deployments, _ = self._cluster.list(DEPLOYMENTS)
        pods, _ = self._cluster.list(PODS)
        self.crowd = max(self.crowd, len(pods))
        wanted: set[str] = set()
        for deployment in deployments:
            template = deployment["spec"]["template"]
            identity = template["metadata"]["annotations"]["hardtack.dev/identity"]
            name = f"{deployment['metadata']['name']}-{identity}"
            mine = [p for p in pods if p["metadata"]["labels"].items()
                    >= deployment["spec"]["selector"]["matchLabels"].items()]  # fmt: skip
            key = deployment["metadata"]["name"]
            self.most[key] = max(self.most.get(key, 0), len(mine))
            # What was deleted counts no more for the cluster, though it answers on for a while.
            active = [pod for pod in mine if not self._run(pod).until]
            if name not in {pod["metadata"]["name"] for pod in mine} and len(active) < 2:
                self._make(name, template)
            self._report(deployment, name, active)
            current = self.runs.get(name)
            if current and current.ready and not current.until:
                wanted.add(name)
            else:
                wanted |= {name, *(p["metadata"]["name"] for p in active if self._run(p).ready)}
        for pod in pods:
            if self._run(pod).until:
                self._let_go(pod)
            elif pod["metadata"]["name"] in wanted:
                self._look(pod)
            else:
                self._run(pod).until = time.monotonic() + _LEAVES
                metadata = {**pod["metadata"], "deletionTimestamp": "2026-11-28T12:00:00Z"}
                self._cluster.update(PODS, {**pod, "metadata": metadata})

    def _let_go(self, pod: Object) -> None:
        """What was deleted, as soon as its time is over."""
        if time.monotonic() >= self._run(pod).until:
            _end(self.runs.pop(pod["metadata"]["name"]))
            self._cluster.delete(PODS, pod["metadata"]["name"])

    def _report(self, deployment: Object, name: str, pods: list[Object]) -> None:
        """The Deployment's status, as its controller writes it."""
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": sum(pod["metadata"]["name"] == name for pod in pods),
        }
        if deployment.get("status") != status:
            self._cluster.update(DEPLOYMENTS, {**deployment, "status": status})

    def _run(self, pod: Object) -> _Run:
        return self.runs[pod["metadata"]["name"]]

    def _make(self, name: str, template: Object) -> None:
        metadata = {**template["metadata"], "name": name}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self._cluster.create(PODS, pod)
        containers = template["spec"]["containers"]
        ports = [each["containerPort"] for container in containers for each in container["ports"]]
        run = self.runs[name] = _Run({port: free_port() for port in ports})
        for container in containers:
            run.containers[container["name"]] = self._started(name, container, run.ports)

    def _started(
        self, name: str, container: Object, ports: Mapping[int, int], restarts: int = 0
    ) -> _Container:
        theirs = {str(port): str(here) for port, here in ports.items()} | {"0.0.0.0": "127.0.0.1"}
        own = [sys.executable, "-m", "hardtack", *container.get("args", [])]
        words = [theirs.get(word, word) for word in container.get("command", own)]
        told = {e["name"]: theirs.get(e["value"], e["value"]) for e in container.get("env", [])}
        log = self._directory / f"{name}-{container['name']}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                words, stdout=stderr, stderr=stderr, text=True, env=clean_environment(told)
            )
        port = ports[container["ports"][0]["containerPort"]]
        return _Container(process, port, log, restarts)

    def _look(self, pod: Object) -> None:
        """Probe it, start again what ended, and write its status where that changed."""
        name = pod["metadata"]["name"]
        run = self.runs[name]
        for container in pod["spec"]["containers"]:
            self._tend(name, container, run)
        run.ready = all(
            not c.backs_off and ask(c.port, "/health/ready")[0] == 200
            for c in run.containers.values()
        )
        proxy = self.proxies.get(name.rpartition("-")[0].rpartition("-")[0])
        newer = [n for n, r in self.runs.items() if n > name and r.ready and not r.until]
        if proxy and run.ready and not newer:
            proxy.target = run.server.port
        status = {
            "conditions": [{"type": "Ready", "status": "True" if run.ready else "False"}],
            "containerStatuses": [
                {"name": name, "restartCount": c.restarts, "lastState": c.last, "state": c.state}
                for name, c in run.containers.items()
            ],
        }
        if pod.get("status") != status:
            self._cluster.update(PODS, {**pod, "status": status})

    def _tend(self, name: str, container: Object, run: _Run) -> None:
        """Start a container again that ended, the first time at once."""
        found = run.containers[container["name"]]
        if (code := found.process.poll()) is not None and not found.backs_off:
            said = found.log.read_text()[-2000:]
            found.last = {"terminated": {"exitCode": code, "message": said}}
            found.backs_off = time.monotonic() + (_BACK_OFF if found.restarts else 0)
        if found.backs_off and time.monotonic() >= found.backs_off:
            again = self._started(name, container, run.ports, found.restarts + 1)
            again.last = found.last
            run.containers[container["name"]] = again

    def _address(self, service: Object) -> None:
        """Give a Service its address, once and for all."""
        name = service["metadata"]["name"].replace("inference-service", "inferencemodel")
        proxy = self.proxies.setdefault(name, _Proxy())
        ports = [{**service["spec"]["ports"][0], "port": proxy.port}]
        service["spec"] |= {"clusterIP": "127.0.0.1", "ports": ports}


class _Proxy:
    """A Service's address: new connections go to the pod of now, old ones stay where they are."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.target = 0
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                try:
                    pod = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    caller.close()
                    continue
                for pair in ((caller, pod), (pod, caller)):
                    threading.Thread(target=_pump, args=pair, daemon=True, name="pump").start()


def _pump(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := here.recv(65536):
            there.sendall(piece)
    for end in (here, there):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    here.close()


def _end(run: _Run) -> None:
    for container in run.containers.values():
        if container.process.poll() is None:
            container.process.terminate()
    for container in run.containers.values():
        container.process.wait(timeout=30)


@contextmanager
def kubernetes(directory: Path) -> Iterator[tuple[ApiServer, Kubelet]]:
    directory.mkdir(parents=True, exist_ok=True)
    server = ApiServer()
    with contextlib.closing(server):
        with contextlib.closing(Kubelet(server, directory)) as kubelet:
            yield server, kubelet
