"""What a process counts of itself: plain numbers, added to where things happen, read when somebody asks.

Strategy: whoever counts holds this object and adds to an attribute; there is no lookup of a name or label on the way of
a frame. A snapshot is a plain value that can travel between processes and be added to others of its kind; how numbers
are shown to the world is an adapter's matter. An object that nobody reads is the default everywhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastcall.audio.audio_clock import CallClock

__all__ = ["COUNTERS", "GAUGES", "HISTOGRAMS", "LABELLED", "Histogram", "Metrics", "merge"]

_AGE_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_BATCH_S = (0.05, 0.1, 0.15, 0.17, 0.2, 0.25, 0.5, 1.0, 5.0)
_ANSWER_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)

COUNTERS = {
    "calls_started": "Calls that began (their start message was taken)",
    "calls_ended": "Calls of which nothing is left",
    "calls_moved": "Times a live call went on over another stream",
    "frames": "Inbound audio messages that were taken",
    "dropped_samples": "Samples of audio that did not fit and were sent as silence",
    "lost_samples": "Samples of audio that outgrew the replay bound before they were recognized",
    "gaps": "Gaps in inbound audio that were filled with silence",
    "gap_samples": "Samples of silence that filled them",
    "duplicate_frames": "Inbound audio messages whose time had come before",
    "idle_closed": "Sockets closed because too many waited without a call",
    "fallback_failures": "Requests to the fallback that will have no answer",
    "no_words": "Times speech was heard for 5 s and the recognizer returned no words",
    "barge_ins": "Times a caller was listened to while a handler spoke",
    "agent_failures": "Handlers, and sources of their audio, that raised",
    "agent_stalls": "Times a handler kept the event loop for over 0.2 s",
    "agent_events_dropped": "Events that a handler was too slow for (the oldest are dropped)",
    "clears_overdue": "Times marks did not come back within a second of clear",
    "events_dropped": "Lines of the transcript stream that a reader of /events was too slow for",
    "transcript_lines_dropped": "Lines that the file of --transcripts did not take, and that did not fit into memory",
    "worker_stalls": "Times a worker did not answer, and got no calls until it did",
    "worker_deaths": "Workers that died, or were killed because they did not answer",
}
LABELLED = {
    "rejected_messages": ("reason", "Messages that were not taken"),
    "auth_refusals": ("reason", "Connections, requests and calls refused for want of authority"),
    "calls_refused": ("reason", "Calls and sockets refused for other reasons"),
    "expired_connections": ("reason", "Connections closed because a deadline passed: start, silent, length or stop"),
    "bad_heads": ("reason", "Connections closed before their first request's head was whole"),
    "rotations": ("reason", "Times another stream carried a session on"),
    "session_failures": ("code", "Outages of the recognizer, as calls saw them"),
    "fallbacks": ("reason", "Requests to the fallback, by why the recognizer was not enough"),
    "utterances": ("source", "Utterances that were committed, by who recognized them; none: nobody told of words"),
    "speculative_starts": ("outcome", "Replies begun on an interim: kept, or given up because the words changed"),
}
GAUGES = {
    "calls_live": "Calls that are live",
    "calls_interrupted": "Calls whose recognizer gives no results, for now or any more",
    "sockets_waiting": "Sockets that are no call yet",
    "transcript_lines_waiting": "Lines that are not written to the file of --transcripts yet",
    "loop_lag_seconds": "How late the event loop is, in seconds: median of the last two seconds",
    "loop_busy_ratio": "Share of one core that the event loop's thread used in the last two seconds",
}
HISTOGRAMS = {
    "audio_age_seconds": ("Age of the newest audio when it was sent to the recognizer", _AGE_S),
    "batch_wait_seconds": ("Age of the oldest audio of a batch when it was sent to the recognizer", _BATCH_S),
    "partial_latency_seconds": ("From the newest recognized sound to its partial", _ANSWER_S),
    "commit_latency_seconds": ("From the end of speech to the utterance's committed text", _ANSWER_S),
    "first_response_seconds": ("From the end of speech to the first audio of the answer", _ANSWER_S),
    "turn_endpointing_seconds": ("Of that: until the endpointer holds the speech to be over", _ANSWER_S),
    "turn_commit_seconds": ("Of that: from there to the committed text", _ANSWER_S),
    "turn_agent_seconds": ("Of that: from there until the handler says something", _ANSWER_S),
    "turn_first_audio_seconds": ("Of that: from there to its first audio on the wire", _ANSWER_S),
    "barge_in_seconds": ("From a caller's first voiced frame to clear on the wire", _ANSWER_S),
    "loop_lateness_seconds": ("How late the event loop ran a timer", _AGE_S),
}


class Histogram:
    """Counts of values by upper bounds, and their sum. One thread."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Of each bound those at or below it and above the bound before; last those above all."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """A process's numbers. One thread: the event loop's."""

    def __init__(self) -> None:
        self.calls_started = 0
        self.calls_ended = self.calls_moved = 0
        self.frames = 0
        self.dropped_samples = 0
        self.lost_samples = 0
        self.gaps = 0
        self.gap_samples = 0
        self.duplicate_frames = 0
        self.idle_closed = 0
        self.fallback_failures = 0
        self.events_dropped = 0
        self.transcript_lines_dropped = 0
        self.worker_stalls = 0
        self.worker_deaths = 0
        self.no_words = 0
        self.barge_ins = 0
        self.agent_failures = 0
        self.agent_stalls = 0
        self.agent_events_dropped = 0
        self.clears_overdue = 0
        self.rejected_messages: Counter[str] = Counter()
        self.auth_refusals: Counter[str] = Counter()
        self.calls_refused: Counter[str] = Counter()
        self.expired_connections: Counter[str] = Counter()
        self.bad_heads: Counter[str] = Counter()
        self.rotations: Counter[str] = Counter()
        self.session_failures: Counter[str] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self.utterances: Counter[str] = Counter()
        self.speculative_starts: Counter[str] = Counter()
        self.calls_live = 0
        self.calls_interrupted = 0
        self.sockets_waiting = 0
        self.transcript_lines_waiting = 0
        self.loop_lag_seconds = 0.0
        self.loop_busy_ratio = 0.0
        self.audio_age_seconds = Histogram(_AGE_S)
        self.batch_wait_seconds = Histogram(_BATCH_S)
        self.partial_latency_seconds = Histogram(_ANSWER_S)
        self.commit_latency_seconds = Histogram(_ANSWER_S)
        self.first_response_seconds = Histogram(_ANSWER_S)
        self.turn_endpointing_seconds = Histogram(_ANSWER_S)
        self.turn_commit_seconds = Histogram(_ANSWER_S)
        self.turn_agent_seconds = Histogram(_ANSWER_S)
        self.turn_first_audio_seconds = Histogram(_ANSWER_S)
        self.barge_in_seconds = Histogram(_ANSWER_S)
        self.loop_lateness_seconds = Histogram(_AGE_S)
        self.watched: dict[CallClock, Callable[[int, int], None]] = {}
        """Who wants to know of each batch of a call, by the call's clock: first sample, and the one after the last."""

    def note_refusal(self, reason: str, *, is_auth: bool) -> None:
        """A call may not begin."""
        (self.auth_refusals if is_auth else self.calls_refused)[reason] += 1

    def note_event_dropped(self) -> None:
        """An agent was too slow for an event."""
        self.agent_events_dropped += 1

    def note_sent(self, clock: CallClock, start_sample: int, end_sample: int, *, now: float) -> None:
        """A call's audio from ``start_sample`` to ``end_sample`` went to the recognizer."""
        self.audio_age_seconds.observe(clock.age_s(end_sample, now=now))
        self.batch_wait_seconds.observe(clock.age_s(start_sample, now=now))
        if self.watched and clock in self.watched:
            self.watched[clock](start_sample, end_sample)

    def snapshot(self) -> dict[str, Any]:
        """All numbers as a value that JSON can carry: counters and gauges as numbers, labelled counters as objects,
        histograms as ``[counts, total]``."""
        numbers: dict[str, Any] = {name: getattr(self, name) for name in (*COUNTERS, *GAUGES)}
        numbers |= {name: dict(getattr(self, name)) for name in LABELLED}
        numbers |= {name: [list(getattr(self, name).counts), getattr(self, name).total] for name in HISTOGRAMS}
        return numbers


def merge(snapshots: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of several processes as one's: all are added, but for the loop's state, of which the worst counts."""
    together = Metrics().snapshot()
    for snapshot in snapshots:
        for name in (*COUNTERS, "calls_live", "calls_interrupted", "sockets_waiting", "transcript_lines_waiting"):
            together[name] += snapshot[name]
        for name in ("loop_lag_seconds", "loop_busy_ratio"):
            together[name] = max(together[name], snapshot[name])
        for name in LABELLED:
            together[name] = dict(Counter(together[name]) + Counter(snapshot[name]))
        for name in HISTOGRAMS:
            (counts, total), (more, further) = together[name], snapshot[name]
            together[name] = [[a + b for a, b in zip(counts, more, strict=True)], total + further]
    return together
