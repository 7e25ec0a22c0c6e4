"""The endpoint, put together from what the command line says."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from hardtack.cache.owner import Owner
from hardtack.core.errors import CacheBusy, ConfigError, DiskFull, FormatError
from hardtack.endpoint.api import Api, Limits
from hardtack.endpoint.backends import processes
from hardtack.endpoint.backends.processes import Processes
from hardtack.endpoint.backends.starting import Pace
from hardtack.endpoint.backends.zygote import Zygote
from hardtack.endpoint.book import Book
from hardtack.endpoint.callers import Callers, read_token
from hardtack.endpoint.cloud import Cloud
from hardtack.endpoint.detectors import Detector, ModelsAway, read_detectors
from hardtack.endpoint.edgeconfig import KEPT_CONFIG
from hardtack.endpoint.inferring import Inferring
from hardtack.endpoint.inforce import InForce
from hardtack.endpoint.known import Known
from hardtack.endpoint.metrics import Metrics
from hardtack.endpoint.outbox import Outbox
from hardtack.endpoint.servers import Backend, Program
from hardtack.endpoint.service import Service
from hardtack.endpoint.store import Store
from hardtack.endpoint.upstream import Upstream
from hardtack.endpoint.waiting import waiting_for
from hardtack.endpoint.warming import Warming

if TYPE_CHECKING:
    from hardtack.endpoint.backends.kubernetes.manifests import Pods


_log = logging.getLogger(__name__)

_PAUSE = 0.2


@dataclass(frozen=True)
class Servers:
    """What each detector's server may take, and how many of them load at a time; `pace`: how long
    is waited for what; `window`: seconds that a picture waits for others to be run with it;
    `flavor`: what the models run on."""

    threads: int = 1
    memory: int = 0
    starting: int = 2
    pixels: int = 50_000_000
    answer: float = 30.0
    pace: Pace = field(default_factory=Pace)
    window: float = 0.0
    flavor: str = "cpu"


@dataclass(frozen=True)
class InCluster:
    """Servers run in this namespace (empty: our pod's own, or the kubeconfig's)."""

    pods: Pods
    namespace: str = ""
    kubeconfig: Path | None = None


@dataclass(frozen=True)
class Settings:
    """`upstream` is the cloud's address, or empty; `token` the box's own for it; with a `cluster`
    the inference servers run there, else as processes of this box, forked by the `zygote`;
    `warming` may read their weights already."""

    models: Path
    detectors: Path | None
    state: Path
    config: Path | None = None
    servers: Servers = field(default_factory=Servers)
    cluster: InCluster | None = None
    zygote: Zygote | None = None
    token_file: Path | None = None
    upstream: str = ""
    token: str = field(default="", repr=False)
    deadline: float = 10.0
    upstream_ca: Path | None = None
    queue_bytes: int = 500_000_000
    queue_seconds: float = 7 * 86400.0
    limits: Limits = field(default_factory=Limits)
    ready_file: Path | None = None
    warming: Warming | None = None


def application(settings: Settings) -> ASGIApp:
    """The endpoint's ASGI application. Raises ConfigError, CacheError."""
    there = settings.upstream or "none, the box answers alone"
    _log.info("The endpoint starts. Models: %s; cloud: %s.", settings.models, there)
    detectors: dict[str, Detector] = {}
    if settings.detectors:
        with waiting_for(f"the models in {settings.models}, which say what the file doesn't"):
            detectors = _detectors(settings.detectors, settings.models)
    programs = {d.id: d.program for d in detectors.values() if d.program}
    in_force = InForce(settings.config, settings.state / KEPT_CONFIG)
    token = read_token(settings.token_file) if settings.token_file else ""
    try:
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        own_state(settings.state)
        store = Store(settings.state)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(
                f"{settings.state} can't be written: {error.strerror}.",
                remedy="Free some space on its disk.",
            ) from None
        raise FormatError(
            f"The state directory {settings.state} can't be used: {error.strerror}.",
            remedy="Have --state name a directory that this user may write to.",
        ) from None
    backend = _backend(settings, in_force.now.refresh_rate, programs)
    metrics = Metrics()
    book = Book(detectors, settings.state / "detectors.json")
    if not (book.every() or settings.upstream):
        _log.warning(
            "The endpoint knows no detector, and no cloud that could name one: it can answer no "
            "image query. Give it --detectors or --upstream."
        )
    _watch(backend, book, metrics)
    cloud = _cloud(settings, store, metrics)
    known = Known(book, settings.models, in_force, cloud)
    service = Service(known, backend, store, Inferring(), metrics, cloud)
    app = Api(service, settings.limits, settings.ready_file, settings.warming).application()
    return Callers(app, token) if token else app


def _detectors(file: Path, models: Path) -> dict[str, Detector]:
    """What the file says. Waits for the models' directory, of a mount that comes later, where the
    file leaves something to it. Raises ConfigError."""
    told = ""
    while True:
        try:
            return read_detectors(file, models)
        except ModelsAway as away:
            if away.message != told:
                _log.warning("The endpoint waits. %s", away)
            told = away.message
        time.sleep(_PAUSE)


def own_state(directory: Path, patience: float = 15.0) -> Owner:
    """The lock on the directory, which ends with the process. One that ends just now, as before a
    restart, is waited for. Raises CacheBusy naming the process that has it, CacheError, OSError."""
    deadline = time.monotonic() + patience
    told = False
    while True:
        try:
            return Owner(directory, "endpoint serve", kind="state")
        except CacheBusy as busy:
            if time.monotonic() > deadline:
                raise
            if not told:
                _log.warning("Waiting for up to %.0f s: %s", patience, busy.message)
            told = True
        time.sleep(_PAUSE)


def _backend(settings: Settings, refresh: float, programs: Mapping[str, Program]) -> Backend:
    """What runs the inference servers. Raises ConfigError."""
    servers = settings.servers
    pace = replace(servers.pace, refresh=servers.pace.refresh or refresh)
    if settings.cluster is None:
        if only := [detector for detector, program in programs.items() if not program.command]:
            raise ConfigError(
                f"The server of {only[0]} has an image and no command, and this is no Kubernetes.",
                remedy="Give its server a command in the file of detectors.",
            )
        return Processes(
            processes.Settings(
                settings.models, settings.state, servers.threads, servers.memory, servers.starting,
                servers.pixels, servers.answer,
                {detector: program.command for detector, program in programs.items()}, pace,
                servers.window, servers.flavor,
            ),
            settings.zygote,
        )  # fmt: skip
    # Imported where it is used: boxes without Kubernetes start without it.
    from hardtack.endpoint.backends.kubernetes import backend
    from hardtack.endpoint.backends.kubernetes.access import find
    from hardtack.endpoint.backends.kubernetes.client import Cluster

    return backend.Kubernetes(
        Cluster(find(settings.cluster.kubeconfig), settings.cluster.namespace),
        backend.Settings(
            settings.models, settings.state, settings.cluster.pods, servers.starting,
            pace.refresh, pace.probation, programs,
        ),
    )  # fmt: skip


def _watch(backend: Backend, book: Book, metrics: Metrics) -> None:
    """Gauges of each detector's server."""

    def each(value: Callable[[str], float]) -> Callable[[], dict[str, float]]:
        return lambda: {detector.id: value(detector.id) for detector in book.every()}

    metrics.watch_each(
        "ready", "1 while a server of the detector answers.",
        each(lambda d: float(backend.address(d) is not None)),
    )  # fmt: skip
    metrics.watch_each(
        "restarts", "Times that a server of the detector was started again.",
        each(lambda d: backend.state(d).restarts),
    )  # fmt: skip
    metrics.watch_each(
        "refused_versions", "Versions of the detector's model that are here and failed.",
        each(lambda d: len(backend.state(d).refused)),
    )  # fmt: skip


def _cloud(settings: Settings, store: Store, metrics: Metrics) -> Cloud | None:
    if not settings.upstream:
        return None
    upstream = Upstream(
        settings.upstream, token=settings.token, deadline=settings.deadline, ca=settings.upstream_ca
    )
    outbox = Outbox(
        settings.state / "queue.sqlite",
        most_bytes=settings.queue_bytes,
        most_seconds=settings.queue_seconds,
    )
    cloud = Cloud(upstream, outbox, store)
    metrics.watch("cloud_reachable", "1 while the cloud answers.", lambda: upstream.reachable)
    metrics.watch("queue_entries", "Image queries for the cloud.", lambda: outbox.status()["size"])
    metrics.watch("queue_bytes", "Bytes of their pictures.", lambda: outbox.status()["bytes"])
    metrics.watch(
        "queue_dropped", "Image queries that the cloud will never see.",
        lambda: sum(outbox.status()["dropped"].values()),
    )  # fmt: skip
    return cloud
