"""What the box says of itself, as JSON's types: for people, the page and programs."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from hardtack import __version__
from hardtack.endpoint.mounted import Mount
from hardtack.endpoint.service import Service

_BINS = 10
_LAST = 4


def told(service: Service, mount: Mount) -> dict[str, Any]:
    """Detectors, mount, cloud, queue, and what was lost. Blocks on the store."""
    return {
        "version": __version__,
        "now": time.time(),
        "detectors": {d.id: _detector(service, d.id) for d in service.known.book.every()},
        "mount": mount.status(),
        "cloud": _cloud(service),
        "image_queries_lost": service.store.lost,
    }


def _detector(service: Service, identity: str) -> dict[str, Any]:
    detector = service.known.book.get(identity)
    assert detector is not None
    last = service.store.confidences(identity)
    seconds = sorted(seconds for _, seconds in last)
    return {
        "name": detector.name,
        "query": detector.query,
        "mode": detector.mode,
        "confidence_threshold": detector.confidence_threshold,
        "edge_inference_config": service.known.config.detectors.get(identity, "default"),
        "server": asdict(service.backend.state(identity)),
        "answers": len(last),
        "p50_seconds": quantile(seconds, 0.50),
        "p99_seconds": quantile(seconds, 0.99),
        "confidence_histogram": histogram([confidence for confidence, _ in last]),
        "last": service.store.listed(1, _LAST, identity)[1],
    }


def _cloud(service: Service) -> dict[str, Any] | None:
    cloud = service.cloud
    if cloud is None:
        return None
    breaker = cloud.upstream.breaker
    return {
        "url": cloud.upstream.url,
        "reachable": cloud.upstream.reachable,
        "since_seconds": max(0, round(time.time() - breaker.since)),
        "reason": breaker.reason,
        "queue": cloud.outbox.status(),
        "held": cloud.delivery.held,
    }


def quantile(ordered: list[float], part: float) -> float | None:
    """The value below which `part` of the ordered values lie; None of none."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def histogram(confidences: list[float]) -> list[int]:
    """How many confidences lie in each tenth from 0 to 1."""
    bins = [0] * _BINS
    for confidence in confidences:
        bins[min(_BINS - 1, int(confidence * _BINS))] += 1
    return bins
