"""Prometheus metrics of a mount, computed from the cache's status when they are asked for."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hardtack.core.errors import ConfigError

if TYPE_CHECKING:
    from prometheus_client import Metric

    from hardtack.cache.cache import Cache
    from hardtack.cache.results import Status

log = logging.getLogger(__name__)

METRICS = (
    ("hardtack_objects", "gauge", "objects", "objects in the catalogue"),
    ("hardtack_objects_bytes", "gauge", "bytes", "size of all objects in the catalogue"),
    ("hardtack_complete_objects", "gauge", "complete", "objects that are wholly in the cache"),
    ("hardtack_partial_objects", "gauge", "partial", "objects that are partly in the cache"),
    ("hardtack_present_bytes", "gauge", "present_bytes", "bytes in the cache"),
    ("hardtack_fetched_bytes", "counter", "fetched_bytes_total", "bytes fetched from the source"),
    ("hardtack_read_bytes", "counter", "bytes_read_total", "bytes read, without passthrough"),
    ("hardtack_hits", "counter", "hits", "reads answered from the cache"),
    ("hardtack_misses", "counter", "misses", "reads that had to wait for the source"),
    ("hardtack_generation", "gauge", "generation", "generation that the mount shows"),
    ("hardtack_fetching_objects", "gauge", "fetching", "objects being fetched"),
)
"""(name, kind, field of the cache's status, meaning); counters get `_total`."""
REACHABLE = "1 while the source can be reached"


def _value(status: Status, field: str) -> float:
    value = getattr(status, field)
    return float(len(value) if isinstance(value, tuple) else value or 0)


class _Collector:
    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        status = self._cache.status()
        for name, kind, field, meaning in METRICS:
            family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
            yield family(name, meaning, value=_value(status, field))
        reachable = float(status.reachable_since is not None)
        yield GaugeMetricFamily("hardtack_source_reachable", REACHABLE, value=reachable)


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; no host is this machine alone. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    good_port = port.isascii() and port.isdecimal() and int(port) < 65536
    if not good_port or any(c.isspace() or c == "/" for c in host):
        raise ConfigError(
            f"{address!r} is not an address for metrics.", remedy="Write it like 127.0.0.1:9464."
        )
    return host.strip("[]") or "127.0.0.1", int(port)


def refused(address: str) -> str:
    """Why nothing can listen at `address`; empty where it can."""
    host, port = parse_address(address)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except OSError as problem:
        return problem.strerror or str(problem)
    return ""


def serve(cache: Cache, address: str) -> None:
    """Answer `GET /metrics` on `address` (`host:port`) from a daemon thread. Raises ConfigError."""
    from prometheus_client import CollectorRegistry, start_http_server

    host, port = parse_address(address)
    registry = CollectorRegistry()
    registry.register(_Collector(cache))
    start_http_server(port, host, registry)
    log.info("metrics on http://%s/metrics", address)
