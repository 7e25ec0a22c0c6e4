"""The little of Kubernetes' API that the small jobs need: one object, read and written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import urllib3

from hardtack.core.errors import AccessDenied, ConfigError, JobError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECONDS = 10.0


class Cluster(Protocol):
    """Objects by their path in the API, such as `/api/v1/nodes`.

    Raises JobError where the API doesn't answer, AccessDenied where it refuses.
    """

    namespace: str

    def get(self, path: str) -> dict[str, Any] | None:
        """The object; None where there is none."""

    def create(self, path: str, body: Mapping[str, Any]) -> None:
        """A new object in the collection at `path`."""

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Merge `body` into the object at `path`."""


class InCluster:
    """The API of the cluster that this pod runs in, with its service account."""

    def __init__(
        self, account: Path = ACCOUNT, env: Mapping[str, str] | None = None, *, url: str = ""
    ) -> None:
        """`url`: another address than the environment's. Raises ConfigError outside a cluster."""
        env = os.environ if env is None else env
        host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT", "443")
        if not url and not host:
            raise ConfigError(
                "KUBERNETES_SERVICE_HOST is not set: this runs in no pod of Kubernetes.",
                remedy="Run it in a pod with a service account.",
            )
        shown = f"[{host}]" if host and ":" in host else host
        self._url = url or f"https://{shown}:{port}"
        parts = urlsplit(self._url)
        self.address = (parts.hostname or "", parts.port or 443)
        self._account = account
        self.namespace = self._file("namespace")
        ca = account / "ca.crt"
        self._pool = urllib3.PoolManager(
            ca_certs=str(ca) if ca.exists() else None,
            timeout=urllib3.Timeout(connect=_SECONDS, read=_SECONDS), retries=False,
        )  # fmt: skip

    def get(self, path: str) -> dict[str, Any] | None:
        return self._request("GET", path, None, missing=True)

    def create(self, path: str, body: Mapping[str, Any]) -> None:
        self._request("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        self._request("PATCH", path, body)

    def _file(self, name: str) -> str:
        try:
            return (self._account / name).read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"{self._account / name} can't be read: {error.strerror}.",
                remedy="The pod needs its service account's token mounted.",
            ) from None

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, missing: bool = False
    ) -> dict[str, Any] | None:
        # read each time: the kubelet renews it
        headers = {"authorization": f"Bearer {self._file('token')}", "accept": "application/json"}
        if body is not None:
            kind = "merge-patch+json" if method == "PATCH" else "json"
            headers["content-type"] = f"application/{kind}"
        data = None if body is None else json.dumps(body).encode()
        try:
            reply = self._pool.request(method, self._url + path, body=data, headers=headers)
            found = json.loads(reply.data)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise JobError(f"Kubernetes at {self._url} doesn't answer: {error}.") from None
        if reply.status == 404 and missing:
            return None
        if reply.status in (401, 403):
            raise AccessDenied(
                f"Kubernetes refuses {method} {path}: {found.get('message', reply.status)}.",
                remedy="Give the pod's service account the role for it.",
            )
        if reply.status >= 300:
            raise JobError(
                f"Kubernetes answers {method} {path} with {reply.status}: {found.get('message')}."
            )
        return dict(found)


def nodes(cluster: Cluster) -> int:
    """How many nodes the cluster has."""
    found = cluster.get("/api/v1/nodes") or {}
    return len(found.get("items", ()))
