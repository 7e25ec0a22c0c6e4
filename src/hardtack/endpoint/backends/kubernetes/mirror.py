"""What the cluster holds of one kind, kept up to date by a watch; still known while it is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from hardtack.core.backoff import Backoff
from hardtack.core.errors import ClusterError, HardtackError
from hardtack.endpoint.backends.kubernetes.client import Cluster, Kind, Object

_log = logging.getLogger(__name__)

_BACKOFF = Backoff(first=0.5, cap=15.0)


class Mirror:
    """The objects of a kind with these labels, by name. Thread-safe."""

    def __init__(
        self, cluster: Cluster, kind: Kind, labels: str, changed: Callable[[], None]
    ) -> None:
        """`changed` is called after each change, in a thread of this mirror's."""
        self.kind = kind
        self.synced = False
        self.problem = ""
        self._cluster = cluster
        self._labels = labels
        self._changed = changed
        self._objects: Mapping[str, Object] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name=f"watch {self.kind.plural}").start()

    def end(self) -> None:
        """A watch that is open is left to itself: nothing comes of it any more."""
        self._ended.set()

    @property
    def objects(self) -> Mapping[str, Object]:
        return self._objects

    def put(self, body: Object) -> None:
        """What a reply to a request of ours says; a watch says the same, later."""
        with self._lock:
            name = body["metadata"]["name"]
            if not _is_older(body, self._objects.get(name)):
                self._objects = {**self._objects, name: body}

    def drop(self, name: str) -> None:
        """It was deleted by us."""
        with self._lock:
            self._objects = {k: v for k, v in self._objects.items() if k != name}

    def _run(self) -> None:
        delays, version = _BACKOFF.delays(), ""
        while not self._ended.is_set():
            try:
                if not version:
                    listed, version = self._cluster.list(self.kind, self._labels)
                    with self._lock:
                        self._objects = {body["metadata"]["name"]: body for body in listed}
                    self.synced = True
                    self._told("")
                begun = time.monotonic()
                for event, body in self._cluster.watch(self.kind, self._labels, version):
                    if self._ended.is_set():
                        return
                    version = body["metadata"].get("resourceVersion", version)
                    self._apply(event, body)
                    delays = _BACKOFF.delays()
                if self.problem:
                    self._told("")
                if time.monotonic() - begun < 1.0:  # a server that hangs up at once
                    self._ended.wait(next(delays))
            except ClusterError as error:
                version = "" if error.status in (410, 400) else version
                self._told(str(error))
                self._ended.wait(max(next(delays), min(error.retry_after, 15.0)))
            except (HardtackError, KeyError, TypeError) as error:
                version = ""
                self._told(str(error))
                self._ended.wait(next(delays))

    def _apply(self, event: str, body: Object) -> None:
        name = body["metadata"].get("name")
        if event == "BOOKMARK" or name is None:
            return
        with self._lock:
            if _is_older(body, self._objects.get(name)):
                return  # it was on its way when a reply to us overtook it
            kept = {k: v for k, v in self._objects.items() if k != name}
            self._objects = kept if event == "DELETED" else {**kept, name: body}
        self._told("")

    def _told(self, problem: str) -> None:
        if problem and problem != self.problem:
            _log.warning("%s", problem)
        self.problem = problem
        if not self._ended.is_set():
            self._changed()


def _is_older(body: Object, held: Object | None) -> bool:
    """Whether it was written before what is held.

    Versions are numbers that grow (Kubernetes' API conventions, "Resource versions", since 1.35;
    they were before, as etcd's and kine's revisions); any other form tells nothing.
    """
    versions = [
        (each or {}).get("metadata", {}).get("resourceVersion", "") for each in (body, held)
    ]
    return all(map(str.isdecimal, versions)) and int(versions[0]) < int(versions[1])
