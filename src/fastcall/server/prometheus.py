"""The process's numbers in Prometheus' text format, by prometheus-client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from fastcall.metrics import COUNTERS, GAUGES, HISTOGRAMS, LABELLED

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

    def collect(self) -> Iterator[Metric]:
        numbers = self._numbers
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(PREFIX + name, text, value=numbers[name])
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(PREFIX + name, text, value=numbers[name])
        for name, (label, text) in LABELLED.items():
            counter = CounterMetricFamily(PREFIX + name, text, labels=[label])
            for value, count in sorted(numbers[name].items()):
                counter.add_metric([value], count)
            yield counter
        for name, (text, bounds) in HISTOGRAMS.items():
            counts, total = numbers[name]
            yield HistogramMetricFamily(PREFIX + name, text, buckets=_buckets(bounds, counts), sum_value=total)


def _buckets(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets hold all that is not above their bound."""
    buckets, sum_so_far = [], 0
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        sum_so_far += count
        buckets.append((bound, float(sum_so_far)))
    return buckets
