"""The cluster's API, over HTTPS: as much of Kubernetes' as the endpoint uses."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme

from drill.cluster import Cluster
from drill.network import API
from drill.volumes import Manifest

_KINDS = {"deployments": "Deployment", "services": "Service", "pods": "Pod",
          "secrets": "Secret", "configmaps": "ConfigMap"}  # fmt: skip
_VERSIONS = {"Deployment": "apps/v1"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        kind, name, asked = self._asked()
        if name:
            found = self.cluster.objects.get((kind, name))
            self._answer(200 if found else 404, found or _refused(404, "NotFound"))
        elif "watch" in asked:
            self._watch(kind, asked)
        else:
            items, version = self.cluster.listed(kind, _labels(asked))
            self._answer(200, {
                "kind": f"{kind}List", "apiVersion": _VERSIONS.get(kind, "v1"),
                "metadata": {"resourceVersion": str(version)}, "items": items,
            })  # fmt: skip

    def do_POST(self) -> None:
        kind, _, _ = self._asked()
        body = self._body()
        with self.cluster.changed:
            if (kind, body["metadata"]["name"]) in self.cluster.objects:
                self._answer(409, _refused(409, "AlreadyExists"))
                return
            made = self.cluster.put(body)
        self._answer(201, made)

    def do_PUT(self) -> None:
        kind, name, _ = self._asked()
        body = self._body()
        with self.cluster.changed:
            known = self.cluster.objects.get((kind, name))
            version = body["metadata"].get("resourceVersion")
            if known is None or version not in (None, known["metadata"]["resourceVersion"]):
                code = 404 if known is None else 409
                self._answer(code, _refused(code, "Conflict"))
                return
            made = self.cluster.put(body)
        self._answer(200, made)

    def do_DELETE(self) -> None:
        kind, name, _ = self._asked()
        known = (kind, name) in self.cluster.objects
        if known:
            self.cluster.remove((kind, name))
        self._answer(200 if known else 404, _refused(404, "NotFound") if not known else {})

    def _asked(self) -> tuple[str, str, dict[str, list[str]]]:
        """(kind, name or nothing, parameters) of the request."""
        parts = urlsplit(self.path)
        words = parts.path.split("/namespaces/", 1)[1].split("/")
        return _KINDS[words[1]], words[2] if len(words) > 2 else "", parse_qs(parts.query)

    def _body(self) -> Manifest:
        body: Manifest = json.loads(self.rfile.read(int(self.headers["content-length"])))
        return body

    def _watch(self, kind: str, asked: dict[str, list[str]]) -> None:
        """Events from a version on, until the time that was asked for is over."""
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        version = int(asked.get("resourceVersion", ["0"])[0] or 0)
        end = time.monotonic() + float(asked.get("timeoutSeconds", ["60"])[0])
        while (left := end - time.monotonic()) > 0:
            for number, event in self.cluster.events_after(version, kind, _labels(asked), left):
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                version = number
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _labels(asked: dict[str, list[str]]) -> dict[str, str]:
    text = asked.get("labelSelector", [""])[0]
    return dict(pair.split("=", 1) for pair in text.split(",") if pair)


def _refused(code: int, reason: str) -> Manifest:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Without asking DNS for a name of its own: that packet would be counted."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers whose power was cut are expected."""


@contextmanager
def serving(cluster: Cluster, authority: trustme.CA) -> Iterator[None]:
    """The API at its address, until the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(API[0], "kubernetes.default.svc").configure_cert(context)
    server = _Server(API, type("Handler", (_Handler,), {"cluster": cluster}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
