"""The numbers: counted, taken along, added."""

from __future__ import annotations

import json
from array import array

from fastcall.metrics import METRICS, Histogram, Metrics, merge, without_gauges


def test_a_value_is_counted_at_the_first_bound_that_is_not_below_it() -> None:
    histogram = Histogram(array("d", (1.0, 2.0)))
    for value in (0.5, 1.0, 1.5, 2.0, 99.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.total) == ([2, 2, 1], 104.0)


def test_every_attribute_but_the_watched_calls_is_a_metric() -> None:
    assert set(METRICS) == set(Metrics.__slots__) - {"watched"} == set(Metrics().snapshot())


def test_a_process_that_is_gone_leaves_its_counts_but_no_gauges() -> None:
    metrics = Metrics()
    metrics.frames, metrics.calls_live, metrics.loop_lag_seconds = 3, 2, 0.5
    metrics.rotations["age"] += 1
    left = without_gauges(metrics.snapshot())
    metrics.calls_live, metrics.loop_lag_seconds = 0, 0.0
    assert left == metrics.snapshot()


def test_a_snapshot_travels_as_json() -> None:
    metrics = Metrics()
    metrics.frames += 3
    metrics.rotations["age"] += 1
    metrics.audio_age_seconds.observe(0.004)
    assert json.loads(json.dumps(metrics.snapshot())) == metrics.snapshot()


def test_processes_are_added_and_the_worst_loop_counts() -> None:
    one, other = Metrics(), Metrics()
    one.frames, other.frames = 3, 4
    one.loop_lag_seconds, other.loop_lag_seconds = 0.1, 0.3
    one.calls_live, other.calls_live = 1, 2
    one.rotations["age"] += 1
    other.rotations["pause"] += 2
    other.rotations["age"] += 1
    one.commit_latency_seconds.observe(0.3)
    other.commit_latency_seconds.observe(100.0)
    together = merge([one.snapshot(), other.snapshot()])
    assert (together["frames"], together["calls_live"], together["loop_lag_seconds"]) == (7, 3, 0.3)
    assert together["rotations"] == {"age": 2, "pause": 2}
    counts, total = together["commit_latency_seconds"]
    assert (sum(counts), counts[-1], total) == (2, 1, 100.3)
    assert merge([]) == Metrics().snapshot()


def test_a_refusal_is_counted_by_what_it_is() -> None:
    metrics = Metrics()
    metrics.note_refusal("no_capacity", is_auth=False)
    metrics.note_refusal("token_used", is_auth=True)
    assert (metrics.calls_refused, metrics.auth_refusals) == ({"no_capacity": 1}, {"token_used": 1})
