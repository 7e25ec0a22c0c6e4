"""Kubernetes' API, emulated on loopback, and a kubeconfig for it."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kmock

_KUBECONFIG = """\
current-context: box
contexts: [{{name: box, context: {{cluster: box, user: box, namespace: {namespace}}}}}]
clusters: [{{name: box, cluster: {{server: "{url}"}}}}]
users: [{{name: box, user: {{token: a-token}}}}]
"""


@dataclass(frozen=True)
class ApiServer:
    url: str
    kubeconfig: Path
    handler: kmock.KubernetesEmulator

    def create(self, path: str, body: Mapping[str, Any]) -> None:
        """An object that somebody else made."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(request).close()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path) as reply:
            return json.loads(reply.read())

    def asked(self) -> list[str]:
        """`METHOD path` of the requests so far."""
        return [f"{r.method.value} {r.url.path}" for r in self.handler]


@contextmanager
def api_server(directory: Path, namespace: str = "edge") -> Iterator[ApiServer]:
    """A running server, empty at first."""
    started = threading.Event()
    running: dict[str, Any] = {}

    async def serve() -> None:
        async with kmock.KubernetesEmulator() as handler, kmock.Server(handler) as server:
            running.update(
                handler=handler, url=str(server.url).rstrip("/"),
                loop=asyncio.get_running_loop(), end=asyncio.Event(),
            )  # fmt: skip
            started.set()
            await running["end"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="api server")
    thread.start()
    assert started.wait(30)
    try:
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(_KUBECONFIG.format(url=running["url"], namespace=namespace))
        yield ApiServer(running["url"], kubeconfig, running["handler"])
    finally:
        running["loop"].call_soon_threadsafe(running["end"].set)
        thread.join()
