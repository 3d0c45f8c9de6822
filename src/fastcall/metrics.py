"""A process's metrics: plain attributes, incremented where events happen and read on request.

Each metric is declared once, as a field of :class:`Metrics`: its help text, its label or bounds, and how the values of
several processes merge. Code that counts holds the object and increments an attribute, without a lookup by name per
frame. A snapshot is plain JSON data: it can be sent between processes, and :func:`merge` combines several.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from operator import add
from typing import Any, Literal

from fastcall._codec import CallClock, Histogram

__all__ = ["METRICS", "Histogram", "Metric", "Metrics", "merge", "without_gauges"]

_AGE_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_BATCH_S = (0.05, 0.1, 0.15, 0.17, 0.2, 0.25, 0.5, 1.0, 5.0)
_ANSWER_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown, and how snapshots of it merge."""

    kind: Literal["counter", "labelled", "gauge", "histogram"]
    help: str
    merge: Callable[[Any, Any], Any]
    """Combines the values of two processes, as in their snapshots."""
    label: str = ""
    """A labelled counter's label."""
    bounds: tuple[float, ...] = ()
    """A histogram's upper bounds."""


def _counter(text: str) -> Any:
    return field(default=0, metadata={"metric": Metric("counter", text, add)})


def _gauge(text: str, *, merge: Callable[[Any, Any], Any]) -> Any:
    return field(default=0, metadata={"metric": Metric("gauge", text, merge)})


def _labelled(label: str, text: str) -> Any:
    return field(default_factory=Counter, metadata={"metric": Metric("labelled", text, _add_labelled, label=label)})


def _histogram(text: str, bounds: tuple[float, ...]) -> Any:
    metric = Metric("histogram", text, _add_histograms, bounds=bounds)
    return field(default_factory=lambda: Histogram(array("d", bounds)), metadata={"metric": metric})


def _add_labelled(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return dict(Counter(one) + Counter(other))


def _add_histograms(one: list[Any], other: list[Any]) -> list[Any]:
    return [list(map(add, one[0], other[0])), one[1] + other[1]]


@dataclass(slots=True, eq=False)
class Metrics:
    """A process's numbers. One thread: the event loop's."""

    calls_started: int = _counter("Calls whose start message was accepted")
    calls_ended: int = _counter("Calls that ended and were released")
    calls_moved: int = _counter("Times a live call continued on another stream")
    frames: int = _counter("Inbound audio messages accepted")
    dropped_samples: int = _counter("Samples of audio that did not fit and were sent as silence")
    lost_samples: int = _counter("Samples of audio that left the replay buffer before they were recognized")
    gaps: int = _counter("Gaps in inbound audio, filled with silence")
    gap_samples: int = _counter("Samples of silence that filled gaps")
    duplicate_frames: int = _counter("Inbound audio messages with a time already received")
    idle_closed: int = _counter("Sockets closed because too many waited without a call")
    fallback_failures: int = _counter("Requests to the fallback that failed")
    no_words: int = _counter("Times the recognizer returned no words for 5 s of speech")
    barge_ins: int = _counter("Times a caller interrupted a handler's speech")
    barge_ins_taken_back: int = _counter("Interruptions that brought no words: the speech went on")
    agent_failures: int = _counter("Exceptions in handlers and their audio sources")
    agent_stalls: int = _counter("Times a handler blocked the event loop for over 0.2 s")
    agent_events_dropped: int = _counter("Events dropped because a handler was too slow (oldest first)")
    clears_overdue: int = _counter("Times marks did not come back within a second of clear")
    events_dropped: int = _counter("Lines of the transcript stream dropped because a reader of /events was too slow")
    transcript_lines_dropped: int = _counter("Lines neither written to the file of --transcripts nor kept in memory")
    worker_stalls: int = _counter("Times a worker did not respond, and got no calls until it did")
    worker_deaths: int = _counter("Workers that crashed, or were killed because they did not respond")

    rejected_messages: Counter[str] = _labelled("reason", "Messages rejected")
    auth_refusals: Counter[str] = _labelled("reason", "Connections, requests and calls refused by access control")
    calls_refused: Counter[str] = _labelled("reason", "Calls and sockets refused for other reasons")
    expired_connections: Counter[str] = _labelled(
        "reason", "Connections closed because a deadline passed: start, silent, length or stop"
    )
    bad_heads: Counter[str] = _labelled("reason", "Connections closed before their first request's head was complete")
    rotations: Counter[str] = _labelled("reason", "Times a session continued on another recognizer stream")
    session_failures: Counter[str] = _labelled("code", "Outages of the recognizer, as calls saw them")
    fallbacks: Counter[str] = _labelled("reason", "Requests to the fallback, by why the recognizer was not enough")
    utterances: Counter[str] = _labelled("source", "Utterances committed, by recognizer; none: without words")
    speculative_starts: Counter[str] = _labelled(
        "outcome", "Replies started on an interim: kept, or abandoned because the words changed"
    )

    calls_live: int = _gauge("Live calls", merge=add)
    calls_interrupted: int = _gauge("Live calls whose recognizer is down, for now or for good", merge=add)
    sockets_waiting: int = _gauge("Sockets without a call so far", merge=add)
    transcript_lines_waiting: int = _gauge("Lines not yet written to the file of --transcripts", merge=add)
    loop_lag_seconds: float = _gauge(
        "How late the event loop is, in seconds: median of the last two seconds", merge=max
    )
    loop_busy_ratio: float = _gauge(
        "Share of one core that the event loop's thread used in the last two seconds", merge=max
    )

    audio_age_seconds: Histogram = _histogram("Age of the newest audio when sent to the recognizer", _AGE_S)
    batch_wait_seconds: Histogram = _histogram("Age of a batch's oldest audio when sent to the recognizer", _BATCH_S)
    partial_latency_seconds: Histogram = _histogram("From the newest recognized sound to its partial", _ANSWER_S)
    commit_latency_seconds: Histogram = _histogram("From the end of speech to the committed text", _ANSWER_S)
    first_response_seconds: Histogram = _histogram("From the end of speech to the first audio of the reply", _ANSWER_S)
    turn_endpointing_seconds: Histogram = _histogram("First part of that: until the speech is judged over", _ANSWER_S)
    turn_commit_seconds: Histogram = _histogram("Second part: from there to the committed text", _ANSWER_S)
    turn_agent_seconds: Histogram = _histogram("Third part: from there until the handler says something", _ANSWER_S)
    turn_first_audio_seconds: Histogram = _histogram("Last part: from there to its first audio sent", _ANSWER_S)
    barge_in_seconds: Histogram = _histogram("From a caller's first voiced frame to the clear message sent", _ANSWER_S)
    loop_lateness_seconds: Histogram = _histogram("How late the event loop ran a timer", _AGE_S)

    def note_refusal(self, reason: str, *, is_auth: bool) -> None:
        """A call was refused."""
        (self.auth_refusals if is_auth else self.calls_refused)[reason] += 1

    def note_event_dropped(self) -> None:
        """An event was dropped because a handler was too slow."""
        self.agent_events_dropped += 1

    def note_sent(self, clock: CallClock, start_sample: int, end_sample: int, *, now: float) -> None:
        """A call's audio from ``start_sample`` to ``end_sample`` was sent to the recognizer."""
        self.audio_age_seconds.observe(clock.age_s(end_sample, now=now))
        self.batch_wait_seconds.observe(clock.age_s(start_sample, now=now))

    def snapshot(self) -> dict[str, Any]:
        """All metrics as JSON data: counters and gauges as numbers, labelled counters as objects, histograms as
        ``[counts, total]``."""
        return {name: _plain(getattr(self, name)) for name in METRICS}


METRICS: dict[str, Metric] = {each.name: each.metadata["metric"] for each in fields(Metrics) if each.metadata}
"""What each attribute of :class:`Metrics` is, by its name, in the order of declaration."""


def _plain(value: Any) -> Any:
    if isinstance(value, Histogram):
        return [list(value.counts), value.total]
    return dict(value) if isinstance(value, Counter) else value


def merge(snapshots: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The snapshots of several processes as one: numbers are added; of event loops, the worst counts."""
    together = Metrics().snapshot()
    for snapshot in snapshots:
        together = {name: metric.merge(together[name], snapshot[name]) for name, metric in METRICS.items()}
    return together


def without_gauges(snapshot: dict[str, Any]) -> dict[str, Any]:
    """The snapshot of a process that has ended: its gauges are 0, all else is kept."""
    return {name: 0 if metric.kind == "gauge" else snapshot[name] for name, metric in METRICS.items()}
