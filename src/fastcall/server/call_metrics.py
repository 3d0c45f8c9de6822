"""One call's contribution to its process's metrics.

The audio path counts nothing twice: the call's parts keep their own counts, and their increments are added to the
metrics when somebody asks for a snapshot, and when the call ends.
"""

from __future__ import annotations

from collections import Counter

from fastcall._codec import CallClock
from fastcall.events import (
    FallbackAsked,
    FallbackSilent,
    NoWords,
    RecognitionEvent,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    TranscriptEvent,
)
from fastcall.metrics import Metrics
from fastcall.recognition.session import RecognitionSession, SessionEvent
from fastcall.turns.call_machine import CallMachine

__all__ = ["CallMetrics"]

FRAME_SAMPLES = 160


class CallMetrics:
    """One call's metrics. Loop thread only."""

    def __init__(self, metrics: Metrics, machine: CallMachine) -> None:
        self._metrics = metrics
        self._machine = machine
        self._counted: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._interim_end = 0
        self._is_interrupted = False

    def count(self, heard_samples: int, session: RecognitionSession | None) -> None:
        """Add what the call's parts have counted since the last time.

        :param heard_samples: audio of the call so far
        """
        timeline = self._machine.timeline
        counts = Counter(
            frames=heard_samples // FRAME_SAMPLES,
            gaps=timeline.gaps,
            gap_samples=timeline.gap_samples,
            duplicate_frames=timeline.duplicate_frames,
            dropped_samples=session.dropped_samples if session is not None else 0,
            lost_samples=session.lost_samples if session is not None else 0,
        )
        for name, more in (counts - self._counted).items():
            setattr(self._metrics, name, getattr(self._metrics, name) + more)
        self._counted = counts
        rejected = Counter(self._machine.rejected)
        self._metrics.rejected_messages.update(rejected - self._rejected)
        self._rejected = rejected

    def note(self, event: SessionEvent) -> None:
        """An event of the session."""
        if isinstance(event, RecognitionEvent):
            self._interim_end = event.end_sample
        elif isinstance(event, SessionRotated):
            self._metrics.rotations[event.reason] += 1
            self._set_interrupted(False)
        elif isinstance(event, SessionFailed):
            self._metrics.session_failures[event.code] += 1
            self._set_interrupted(True)
        elif isinstance(event, NoWords):
            self._metrics.no_words += 1
        elif isinstance(event, FallbackAsked):
            self._metrics.fallbacks[event.reason] += 1
        elif isinstance(event, FallbackSilent):
            self._metrics.fallback_failures += bool(event.error)
        elif isinstance(event, SessionClosed):
            self._set_interrupted(False)

    def _set_interrupted(self, is_interrupted: bool) -> None:
        self._metrics.calls_interrupted += is_interrupted - self._is_interrupted
        self._is_interrupted = is_interrupted

    def publish(self, event: TranscriptEvent, clock: CallClock, *, now: float) -> None:
        """An event that is published."""
        if event.event == "partial":
            self._metrics.partial_latency_seconds.observe(clock.age_s(self._interim_end, now=now))
        elif event.event == "utterance_end":
            self._metrics.utterances[event.source if event.source and event.text else "none"] += 1
            if event.end_sample is not None:
                self._metrics.commit_latency_seconds.observe(clock.age_s(event.end_sample, now=now))
