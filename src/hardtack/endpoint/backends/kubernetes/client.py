"""A thin client of the Kubernetes API: objects as JSON's types, and nothing that isn't asked for.

docs/adr/0017-kubernetes-backend.md says why it is not one of the libraries.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from hardtack.core.backoff import Backoff
from hardtack.core.errors import ClusterError
from hardtack.endpoint.backends.kubernetes.access import Access

Object = dict[str, Any]

_ATTEMPTS = 4
_BACKOFF = Backoff(first=0.25, cap=4.0)
_MOST_WAIT = 10.0
_PAGE = 500
_WATCH = 60


@dataclass(frozen=True)
class Kind:
    """A kind of namespaced objects: its group and version as in `apiVersion`, and its plural."""

    version: str
    plural: str
    name: str

    def path(self, namespace: str, name: str = "") -> str:
        root = "apis" if "/" in self.version else "api"
        path = f"/{root}/{self.version}/namespaces/{quote(namespace, safe='')}/{self.plural}"
        return f"{path}/{quote(name, safe='')}" if name else path


DEPLOYMENTS = Kind("apps/v1", "deployments", "Deployment")
SERVICES = Kind("v1", "services", "Service")
PODS = Kind("v1", "pods", "Pod")
SECRETS = Kind("v1", "secrets", "Secret")


class Cluster:
    """The API server, and one namespace of it. Thread-safe."""

    def __init__(self, access: Access, namespace: str = "", *, patience: float = 10.0) -> None:
        """`patience`: seconds that a reply may take. Raises ConfigError."""
        self.namespace = namespace or access.namespace
        self.server = access.server
        self._access = access
        self._timeout = urllib3.Timeout(connect=5.0, read=patience)
        context = access.context() if access.server.startswith("https:") else None
        self._pool = urllib3.PoolManager(maxsize=8, retries=False, ssl_context=context)

    def close(self) -> None:
        self._pool.clear()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, kind: Kind, name: str) -> Object | None:
        """None where there is none. Raises ClusterError, as all that follow."""
        try:
            return self._json("GET", kind.path(self.namespace, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: Kind, labels: str = "") -> tuple[list[Object], str]:
        """The objects with these labels, and the version that a watch goes on from."""
        found: list[Object] = []
        parameters = {"labelSelector": labels, "limit": str(_PAGE)}
        while True:
            page = self._json("GET", kind.path(self.namespace), parameters)
            found += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return found, str(metadata.get("resourceVersion", ""))
            parameters["continue"] = metadata["continue"]

    def create(self, kind: Kind, body: Object) -> Object:
        """Status 409 where there is one of the name."""
        return self._json("POST", kind.path(self.namespace), body=body)

    def update(self, kind: Kind, body: Object) -> Object:
        """Replace it. Status 409 where somebody changed it since its `resourceVersion`."""
        return self._json("PUT", kind.path(self.namespace, body["metadata"]["name"]), body=body)

    def patch(self, kind: Kind, name: str, body: Object) -> Object:
        """Merge `body` into it, whatever others changed beside."""
        return self._json("PATCH", kind.path(self.namespace, name), body=body)

    def delete(self, kind: Kind, name: str) -> None:
        """One that isn't there is fine."""
        try:
            self._json("DELETE", kind.path(self.namespace, name))
        except ClusterError as error:
            if error.status != 404:
                raise

    def watch(self, kind: Kind, labels: str, version: str) -> Iterator[tuple[str, Object]]:
        """What changes from `version` on: ADDED, MODIFIED, DELETED, BOOKMARK; ends now and then.

        Status 410 where the version is too old to go on from.
        """
        parameters = {
            "watch": "true", "labelSelector": labels, "resourceVersion": version,
            "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH),
        }  # fmt: skip
        timeout = urllib3.Timeout(connect=5.0, read=_WATCH + 15)
        reply = self._open("GET", kind.path(self.namespace), parameters, None, timeout, stream=True)
        try:
            for line in _lines(reply):
                event = _parsed(line)
                if event.get("type") == "ERROR":
                    raise _refusal(
                        int(event["object"].get("code", 0)), event["object"], "the watch"
                    )
                yield str(event.get("type")), event["object"]
        except urllib3.exceptions.ReadTimeoutError:
            return  # nothing has changed; whoever asked goes on from where it is
        except (urllib3.exceptions.HTTPError, KeyError, TypeError, ValueError) as error:
            raise ClusterError(f"A watch of {kind.plural} broke off: {error}.") from None
        finally:
            reply.close()

    def _json(
        self, method: str, path: str, parameters: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> Object:  # fmt: skip
        """The reply's object. Waits and asks again while the server is busy or broken."""
        delays = _BACKOFF.delays()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                reply = self._open(method, path, parameters, body, self._timeout)
                return _parsed(reply.data)
            except ClusterError as error:
                again = error.status == 429 or error.status >= 500
                if not again or attempt == _ATTEMPTS:
                    raise
                told = min(error.retry_after, _MOST_WAIT)
                time.sleep(told * random.uniform(1, 1.2) if told else next(delays))
        raise AssertionError

    def _open(
        self, method: str, path: str, parameters: Mapping[str, str] | None, body: Object | None,
        timeout: urllib3.Timeout, *, stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:  # fmt: skip
        given = {k: v for k, v in (parameters or {}).items() if v}
        url = f"{self.server}{path}" + (f"?{urlencode(given)}" if given else "")
        headers = {"accept": "application/json", "user-agent": "hardtack"}
        if token := self._access.bearer():
            headers["authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            kind = "merge-patch+json" if method == "PATCH" else "json"
            headers["content-type"] = f"application/{kind}"
            data = json.dumps(body).encode()
        try:
            reply = self._pool.request(
                method, url, body=data, headers=headers, timeout=timeout, retries=False,
                preload_content=not stream,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise ClusterError(
                f"The Kubernetes API server {self.server} can't be reached: {error}."
            ) from None
        if reply.status >= 400:
            told = _status(reply.data)
            after = reply.headers.get("retry-after", "")
            raise _refusal(
                reply.status, told, f"{method} {path}", float(after) if after.isdecimal() else 0.0
            )
        return reply


def _refusal(status: int, told: Mapping[str, Any], what: str, after: float = 0.0) -> ClusterError:
    reason = str(told.get("message") or told.get("reason") or "no reason given")[:300]
    return ClusterError(
        f"The Kubernetes API server answers {status} to {what}: {reason}.",
        remedy="Compare the rights of its service account with the chart's." if status == 403
        else "", status=status, retry_after=after,
    )  # fmt: skip


def _status(data: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(data)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _parsed(data: bytes) -> Object:
    try:
        told = json.loads(data)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise ClusterError("The Kubernetes API server's reply is no JSON object.")
    return told


def _lines(reply: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    left = b""
    for piece in reply.stream(65536):
        *whole, left = (left + piece).split(b"\n")
        yield from filter(None, whole)
    if left:
        yield left
