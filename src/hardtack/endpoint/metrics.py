"""Counters of the endpoint, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "hardtack_endpoint_answer_seconds", "Time from an image query to the box's answer.",
            ["detector"], registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._confidence = Histogram(
            "hardtack_endpoint_confidence", "Confidence of the box's answers.",
            ["detector"], registry=self.registry, buckets=_CONFIDENCE,
        )  # fmt: skip
        self._ways = Counter(
            "hardtack_endpoint_image_queries", "Image queries that the box answered, by what "
            "follows: edge (nothing), cloud (it is asked first), later, audit (it is sent them).",
            ["detector", "way"], registry=self.registry,
        )  # fmt: skip
        self._refused = Counter(
            "hardtack_endpoint_refused", "Image queries that were not answered, by status.",
            ["status"], registry=self.registry,
        )  # fmt: skip
        # Looking one up takes longer than counting.
        self._seconds_of = cache(self._seconds.labels)
        self._confidence_of = cache(self._confidence.labels)
        self._ways_of = cache(self._ways.labels)

    def answered(self, detector: str, confidence: float, seconds: float) -> None:
        self._seconds_of(detector).observe(seconds)
        self._confidence_of(detector).observe(confidence)

    def went(self, detector: str, way: str) -> None:
        self._ways_of(detector, way).inc()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(f"hardtack_endpoint_{name}", text, registry=self.registry).set_function(value)

    def watch_each(self, name: str, text: str, values: Callable[[], Mapping[str, float]]) -> None:
        """A gauge for each detector, read when somebody asks."""
        self.registry.register(_Each(f"hardtack_endpoint_{name}", text, values))

    def refused(self, status: int) -> None:
        self._refused.labels(str(status)).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Each(Collector):
    def __init__(self, name: str, text: str, values: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._text, self._values = name, text, values

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=["detector"])
        for detector, value in self._values().items():
            family.add_metric([detector], value)
        yield family

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, self._text, labels=["detector"])
