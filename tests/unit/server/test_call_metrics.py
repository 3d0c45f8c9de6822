"""What a call adds to its process's numbers: each thing once."""

from __future__ import annotations

from fastcall._codec import CallClock
from fastcall.events import (
    CallStarted,
    FallbackAsked,
    FallbackSilent,
    MediaFrame,
    RecognitionEvent,
    Rejected,
    SessionClosed,
    SessionFailed,
    SessionRotated,
    TranscriptEvent,
)
from fastcall.metrics import Metrics
from fastcall.server.call_metrics import CallMetrics
from fastcall.settings import Settings
from fastcall.turns.call_machine import CallMachine


def test_what_the_parts_counted_is_brought_over_once() -> None:
    metrics, machine = Metrics(), CallMachine(Settings())
    call_metrics = CallMetrics(metrics, machine)
    machine.receive(CallStarted("MZ", "CA", "AC"), now=0.0)
    machine.receive(MediaFrame("MZ", 100, bytes(160), 1), now=0.0)
    machine.receive(MediaFrame("MZ", 500, bytes(160), 2), now=0.0)
    machine.receive(Rejected("not_json"), now=0.0)
    for _ in range(2):
        call_metrics.count(480, None)
    assert (metrics.frames, metrics.gaps, metrics.gap_samples) == (3, 1, 3040)
    assert metrics.rejected_messages == {"not_json": 1}
    machine.receive(Rejected("not_json"), now=0.0)
    machine.receive(MediaFrame("MZ", 500, bytes(160), 2), now=0.0)
    call_metrics.count(640, None)
    assert (metrics.frames, metrics.duplicate_frames, metrics.rejected_messages) == (4, 1, {"not_json": 2})


def test_latencies_count_from_when_it_was_said() -> None:
    metrics, clock = Metrics(), CallClock()
    call_metrics = CallMetrics(metrics, CallMachine(Settings()))
    clock.heard(8000, now=101.0)
    call_metrics.note(RecognitionEvent("interim", "apple", 4000, "emulator"))
    call_metrics.publish(TranscriptEvent("partial", 1, "apple"), clock, now=101.25)
    call_metrics.publish(TranscriptEvent("utterance_end", 1, "apple", 0, 8000), clock, now=101.5)
    assert metrics.partial_latency_seconds.total == 0.75
    assert metrics.commit_latency_seconds.total == 0.5


def test_what_a_session_tells_is_counted_by_reason() -> None:
    metrics = Metrics()
    call_metrics = CallMetrics(metrics, CallMachine(Settings()))
    for event in (SessionRotated("age"), SessionRotated("age"), SessionFailed("UNAVAILABLE", "", "")):
        call_metrics.note(event)
    assert (metrics.rotations, metrics.session_failures) == ({"age": 2}, {"UNAVAILABLE": 1})
    for asked in (FallbackAsked(0, 8000, "outage", "whisper"), FallbackAsked(0, 8000, "bound", "whisper")):
        call_metrics.note(asked)
    call_metrics.note(FallbackSilent(0, 8000, "whisper"))
    call_metrics.note(FallbackSilent(0, 8000, "whisper", "busy"))
    assert (metrics.fallbacks, metrics.fallback_failures) == ({"outage": 1, "bound": 1}, 1)


def test_an_outage_is_a_call_that_is_interrupted_until_it_is_told_to_be_over() -> None:
    metrics = Metrics()
    tallies = [CallMetrics(metrics, CallMachine(Settings())) for _ in range(2)]
    failed = SessionFailed("UNAVAILABLE", "", "", retrying=True)
    for call_metrics in tallies:
        call_metrics.note(failed)
        call_metrics.note(failed)
    assert metrics.calls_interrupted == 2
    tallies[0].note(SessionRotated("reconnect"))
    assert metrics.calls_interrupted == 1
    tallies[1].note(SessionClosed())
    assert metrics.calls_interrupted == 0
    assert metrics.session_failures == {"UNAVAILABLE": 4}


def test_an_utterance_is_counted_by_who_recognized_it() -> None:
    metrics = Metrics()
    call_metrics = CallMetrics(metrics, CallMachine(Settings()))
    for text, source in (("one", "google"), ("two", "whisper"), ("three", "whisper"), ("", "google"), ("", None)):
        call_metrics.publish(TranscriptEvent("utterance_end", 1, text, 0, 8000, source), CallClock(), now=1.0)
    assert metrics.utterances == {"google": 1, "whisper": 2, "none": 2}
