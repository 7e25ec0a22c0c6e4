"""Inference servers as Deployments and Services of a Kubernetes cluster.

What runs there goes on when the endpoint ends, and is found again when it starts. One thread
brings the cluster to what is wanted; what is asked of the backend is answered from what is known.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.core.backoff import Backoff
from hardtack.core.errors import ClusterError, HardtackError, in_words
from hardtack.endpoint.backends import record, versions
from hardtack.endpoint.backends.kubernetes import manifests, pods
from hardtack.endpoint.backends.kubernetes.applying import differs, ensure
from hardtack.endpoint.backends.kubernetes.client import (
    DEPLOYMENTS,
    PODS,
    SERVICES,
    Cluster,
    Object,
)
from hardtack.endpoint.backends.kubernetes.manifests import IDENTITY, OWNED, Pods
from hardtack.endpoint.backends.kubernetes.mirror import Mirror
from hardtack.endpoint.backends.kubernetes.pods import Holding, Pod, detector_of
from hardtack.endpoint.backends.looker import Looker
from hardtack.endpoint.backends.record import Record
from hardtack.endpoint.backends.versions import Seen, Version
from hardtack.endpoint.servers import Address, Program, State

_log = logging.getLogger(__name__)

_CRASHES = 3
_PAUSE = 2.0
_GONE = manifests.GRACE + 20.0
_BACKOFF = Backoff(first=1.0, cap=30.0)


@dataclass(frozen=True)
class Settings:
    """`starting`: how many detectors may load at a time; seconds `refresh` between looks for models
    and `probation` until a version counts as one that serves well."""

    models: Path
    state: Path
    pods: Pods
    starting: int = 2
    refresh: float = 60.0
    probation: float = 35.0
    programs: Mapping[str, Program] = field(default_factory=dict)


class Kubernetes:
    """The Kubernetes backend."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._wanted: frozenset[str] | None = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._records: dict[str, Record] = {}
        self._ready_since: dict[tuple[str, str], float] = {}
        self._problems: dict[str, str] = {}
        self._deployments, self._services, self._pods = (
            Mirror(cluster, kind, OWNED, self._wake.set) for kind in (DEPLOYMENTS, SERVICES, PODS)
        )
        self._holding = Holding(_GONE)
        self._looker = Looker(
            settings.models, settings.refresh, lambda d: self.address(d) is None, self._wake.set
        )
        self._thread = threading.Thread(target=self._run, daemon=True, name="kubernetes")

    async def start(self) -> None:
        for mirror in (self._deployments, self._services, self._pods):
            mirror.start()
        self._looker.start()
        self._thread.start()

    async def close(self) -> None:
        """What runs in the cluster goes on."""
        self._ended.set()
        for part in (self._deployments, self._services, self._pods, self._looker):
            part.end()
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5.0)
        self._cluster.close()

    def want(self, detectors: frozenset[str]) -> None:
        self._wanted = detectors
        self._looker.want(detectors)
        self._wake.set()

    def address(self, detector: str) -> Address | None:
        service = self._services.objects.get(manifests.service_name(detector))
        deployment = self._deployment(detector)
        found = self._pods_of(detector)
        # A pod that is about to go answers a while longer, and its Service sends to it meanwhile.
        ready = [p for p in found if p.ready and not p.going] or [p for p in found if p.ready]
        if service is None or deployment is None or not ready or not self._is_wanted(detector):
            return None
        identity = _identity(deployment)
        pod = next((pod for pod in ready if pod.identity == identity), ready[0])
        spec = service["spec"]
        host = spec.get("clusterIP") or f"{service['metadata']['name']}.{self._cluster.namespace}"
        return Address(host, int(spec["ports"][0]["port"]), pod.version)

    def state(self, detector: str) -> State:
        if not self._is_wanted(detector):
            return State("stopped")
        seen = self._looker.seen.get(detector, Seen())
        refused = versions.refused_now(seen, self._record(detector).refused)
        told = "".join(f"Version {label} is refused: {reason} " for label, reason in refused)
        labels = tuple(label for label, _ in refused)
        found = self._staying(detector)
        deployment = self._deployment(detector)
        restarts = sum(pod.restarts for pod in found)
        address = self.address(detector)
        away = self._deployments.problem or self._pods.problem or self._problems.get(detector, "")
        if address is not None:
            new = [p for p in found if not p.ready]
            beside = f"Version {new[0].version} loads beside it." if new else ""
            told_by = [new[0].broken, new[0].last] if new else []
            note = " ".join(filter(None, (told.strip(), beside, *told_by, away)))
            return State("ready", address.version, note, restarts, None, labels)
        if deployment is None:
            waiting = not self._deployments.synced or bool(seen.whole) or bool(away)
            note = f"{away or seen.problem} {told}".strip()
            return State("waiting" if waiting else "absent", "", note, 0, None, labels)
        version = _version_of(seen, _identity(deployment))
        broken = " ".join(dict.fromkeys(p.broken for p in found if p.broken))
        last = " ".join(dict.fromkeys(p.last for p in found if p.last))
        note = " ".join(filter(None, (broken, last, told, away)))
        phase = "failed" if broken else "loading"
        weights = version.weights if version else None
        label = version.label if version else ""
        return State(phase, label, note, restarts, weights, labels)

    def _run(self) -> None:
        troubles = _BACKOFF.delays()
        while not self._ended.is_set():
            self._wake.wait(_PAUSE)
            self._wake.clear()
            try:
                self._round()
                troubles = _BACKOFF.delays()
            except Exception:  # noqa: BLE001 (told, and tried again)
                _log.exception("Looking after the cluster failed. It is tried again.")
                self._ended.wait(next(troubles))

    def _round(self) -> None:
        wanted = self._wanted
        if wanted is None or self._ended.is_set():
            return
        if not all(m.synced for m in (self._deployments, self._services, self._pods)):
            return
        clashing = manifests.clashing(wanted)
        for detector in sorted(wanted, key=self._size):
            if detector in clashing:
                self._tell(detector, clashing[detector])
            else:
                self._try(detector)
        self._remove(wanted - clashing.keys())

    def _try(self, detector: str) -> None:
        try:
            self._tend(detector)
        except HardtackError as error:
            self._tell(detector, str(error))
        except Exception as error:  # noqa: BLE001 (a fault of ours costs one detector)
            reason = in_words(error)
            if self._problems.get(detector) != reason:
                _log.exception("Looking after %s failed. It is tried again.", detector)
            self._problems[detector] = reason
        else:
            self._problems.pop(detector, None)

    def _tell(self, detector: str, problem: str) -> None:
        if self._problems.get(detector) != problem:
            _log.error("%s: %s", detector, problem)
        self._problems[detector] = problem

    def _tend(self, detector: str) -> None:
        """One step towards what is wanted of a detector. Raises ClusterError."""
        seen = self._looker.seen.get(detector)
        if seen is None:
            return
        kept = self._record(detector)
        deployment = self._deployment(detector)
        if deployment is None:
            chosen = versions.first(seen, kept.last, kept.refused)
            if chosen is not None and self._may_load():
                self._make(detector, chosen)
            return
        ensure(self._cluster, self._services, manifests.service(detector))
        identity = _identity(deployment)
        serving = [pod for pod in self._staying(detector) if pod.identity == identity]
        if any(pod.ready for pod in serving):
            self._served(detector, identity)
            following = versions.following(seen, identity, kept.refused)
        else:
            self._ready_since.pop((detector, identity), None)
            following = self._instead(detector, identity, serving, seen)
        chosen = following or _version_of(seen, identity)
        if chosen is None:
            return
        desired = self._desired(detector, chosen)
        # One that serves waits for its turn: two servers of each at once are more than a box holds.
        serves = any(pod.ready for pod in self._staying(detector))
        turn = self._may_load(beside=detector) and not self._has_more(detector, deployment, serving)
        if differs(deployment, desired) and serves and not turn:
            return
        ensure(self._cluster, self._deployments, desired)

    def _make(self, detector: str, version: Version) -> None:
        ensure(self._cluster, self._services, manifests.service(detector))
        ensure(self._cluster, self._deployments, self._desired(detector, version))
        _log.info("%s: version %s is deployed.", detector, version.label)

    def _served(self, detector: str, identity: str) -> None:
        kept, now = self._record(detector), time.monotonic()
        since = self._ready_since.setdefault((detector, identity), now)
        first = not kept.last
        if kept.last != identity and (first or now - since > self._settings.probation):
            kept.last = identity
            self._keep(detector, kept)

    def _instead(
        self, detector: str, identity: str, serving: Sequence[Pod], seen: Seen
    ) -> Version | None:
        """The version to go back to from one whose server keeps ending; None while it may load.

        Not where its bytes aren't all here: then it is the link that fails.
        """
        version = _version_of(seen, identity)
        if version is None and seen.whole and versions.number_of(identity) not in seen.numbers:
            kept = self._record(detector)  # it was taken away before it had ever loaded
            return versions.first(seen, kept.last, kept.refused)
        crashes = max((pod.restarts for pod in serving), default=0)
        if version is None or not version.arrived or crashes < _CRASHES:
            return None
        kept = self._record(detector)
        reason = next((pod.last or pod.broken for pod in serving if pod.restarts), "it crashes")
        others = [v for v in seen.whole if v.identity not in {*kept.refused, identity}]
        if not others:
            return None
        _log.error("%s: version %s is refused: %s", detector, version.label, reason)
        kept.refuse(identity, reason)
        self._keep(detector, kept)
        return versions.first(seen, kept.last, kept.refused)

    def _remove(self, wanted: frozenset[str]) -> None:
        """Delete what is ours and of no wanted detector."""
        for mirror in (self._deployments, self._services):
            for name, body in mirror.objects.items():
                if detector_of(body) in wanted:
                    continue
                if body["metadata"].get("deletionTimestamp"):
                    continue
                try:
                    self._cluster.delete(mirror.kind, name)
                    mirror.drop(name)
                except ClusterError as error:
                    _log.error("%s", error)

    def _desired(self, detector: str, version: Version) -> Object:
        settings = self._settings
        return manifests.deployment(
            detector, version, settings.pods, settings.programs.get(detector)
        )

    def _has_more(self, detector: str, deployment: Object, serving: Sequence[Pod]) -> bool:
        """Whether a server from before hasn't ended: with another version there would be three."""
        if not any(pod.ready for pod in serving):
            return self._holding.ending(detector, self._pods.objects) > 0
        held = self._holding.count(detector, self._pods.objects)
        return held > _replicas(deployment)

    def _may_load(self, beside: str = "") -> bool:
        """Whether fewer detectors than may load at a time; `beside` isn't counted. The servers of
        one that is wanted no more hold memory until they have ended."""
        others = [b for b in self._deployments.objects.values() if detector_of(b) != beside]
        known = {detector_of(body) for body in self._deployments.objects.values()}
        left = self._holding.left(known, self._pods.objects)
        return sum(map(self._loads, others)) + left < self._settings.starting

    def _loads(self, deployment: Object) -> bool:
        """Whether a server of it starts now, or the one before hasn't ended; one that waits after a
        failure holds up nobody."""
        detector = detector_of(deployment)
        found = self._staying(detector)
        if any(pod.broken for pod in found if not pod.ready):
            return False
        # The cluster's own count leaves out the pods that were deleted and haven't ended.
        held = self._holding.count(detector, self._pods.objects)
        wanted = _replicas(deployment)
        return not any(pod.ready for pod in found) or held > wanted or _rolls(deployment)

    def _size(self, detector: str) -> tuple[int, str]:
        whole = self._looker.seen.get(detector, Seen()).whole
        return (whole[0].size if whole else 0, detector)

    def _deployment(self, detector: str) -> Object | None:
        found = self._deployments.objects.get(manifests.deployment_name(detector))
        if found and detector_of(found) != detector:
            return None
        return found

    def _pods_of(self, detector: str) -> Sequence[Pod]:
        return pods.of(detector, self._pods.objects.values())

    def _staying(self, detector: str) -> Sequence[Pod]:
        return [pod for pod in self._pods_of(detector) if not pod.going]

    def _is_wanted(self, detector: str) -> bool:
        return self._wanted is not None and detector in self._wanted

    def _record(self, detector: str) -> Record:
        if detector not in self._records:
            self._records[detector] = record.read(self._record_path(detector))
        return self._records[detector]

    def _keep(self, detector: str, kept: Record) -> None:
        record.write(self._record_path(detector), kept)

    def _record_path(self, detector: str) -> Path:
        return self._settings.state / "versions" / f"{detector}.json"


def _replicas(deployment: Object) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _rolls(deployment: Object) -> bool:
    """Whether the cluster hasn't yet brought its pods to what it says."""
    status, wanted = deployment.get("status") or {}, _replicas(deployment)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return True
    return any(status.get(name, 0) != wanted for name in ("updatedReplicas", "replicas"))


def _identity(deployment: Object) -> str:
    return str(deployment["metadata"].get("annotations", {}).get(IDENTITY, ""))


def _version_of(seen: Seen, identity: str) -> Version | None:
    return next((v for v in seen.whole if v.identity == identity), None)
