"""Metrics in Prometheus' text format, by prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client import core as prometheus
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from fastcall.metrics import METRICS

__all__ = ["CONTENT_TYPE", "render"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
PREFIX = "fastcall_"


def render(snapshot: dict[str, Any]) -> str:
    """A snapshot of ``fastcall.metrics``, as text. Names begin with ``fastcall_``; units are base units."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    return generate_latest(registry).decode("utf-8")


class _Snapshot(Collector):
    def __init__(self, numbers: dict[str, Any]) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[prometheus.Metric]:
        for name, metric in METRICS.items():
            value, full_name = self._numbers[name], PREFIX + name
            match metric.kind:
                case "counter":
                    yield prometheus.CounterMetricFamily(full_name, metric.help, value=value)
                case "gauge":
                    yield prometheus.GaugeMetricFamily(full_name, metric.help, value=value)
                case "labelled":
                    counter = prometheus.CounterMetricFamily(full_name, metric.help, labels=[metric.label])
                    for label_value, count in sorted(value.items()):
                        counter.add_metric([label_value], count)
                    yield counter
                case "histogram":
                    buckets = _buckets(metric.bounds, value[0])
                    yield prometheus.HistogramMetricFamily(full_name, metric.help, buckets=buckets, sum_value=value[1])


def _buckets(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets are cumulative: each counts all values up to its bound."""
    buckets, sum_so_far = [], 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        sum_so_far += count
        buckets.append((bound, float(sum_so_far)))
    return buckets
