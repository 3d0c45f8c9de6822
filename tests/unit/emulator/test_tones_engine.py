"""The tones engine: utterances out of words and silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcall.audio.tones import synthesize
from fastcall.emulator.engines.base import (
    EngineEvent,
    Finished,
    Heard,
    SpeechBegan,
    SpeechEnded,
    UtteranceEnded,
)
from fastcall.emulator.engines.tones import TonesStream


def told(text: str, *, pieces: list[int] | None = None, cut_ms: int = 0, **options: float) -> list[EngineEvent]:
    """Events for the text; `cut_ms`: how much of its end does not come."""
    events: list[EngineEvent] = []
    limits = {"end_silence_s": 0.6, "max_utterance_s": 60.0} | options
    engine_stream = TonesStream(8000, events.append, **limits)
    pcm = np.frombuffer(synthesize(text), dtype="<i2")
    pcm = pcm[: len(pcm) - cut_ms * 8]
    for size in pieces or []:
        engine_stream.feed(pcm[:size])
        pcm = pcm[size:]
    engine_stream.feed(pcm)
    engine_stream.finish()
    return events


def utterances(events: list[EngineEvent]) -> list[str]:
    return [" ".join(word.text for word in e.words) for e in events if isinstance(e, UtteranceEnded)]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9000), max_size=20))
def test_silence_ends_utterances_however_the_audio_comes(pieces: list[int]) -> None:
    events = told("apple arrow [650] badge [500] badge [700] cloud", pieces=pieces)
    assert utterances(events) == ["apple arrow", "badge badge", "cloud"]
    assert isinstance(events[-1], Finished)
    kinds = [type(e) for e in events if not isinstance(e, Heard | Finished)]
    assert kinds == [SpeechBegan, SpeechEnded, UtteranceEnded] * 3


def test_what_is_settled_reaches_into_the_silence_but_not_into_the_next_word() -> None:
    events = told("apple [700] arrow [700]", pieces=[80] * 200)
    ended = [e for e in events if isinstance(e, UtteranceEnded)]
    assert [e.speech_end_s for e in ended] == [pytest.approx(0.2, abs=0.01), pytest.approx(1.1, abs=0.01)]
    assert [e.end_s for e in ended] == [pytest.approx(0.8, abs=0.03), pytest.approx(1.7, abs=0.03)]


def test_a_word_of_which_only_the_beginning_came_is_not_settled() -> None:
    (ended,) = (e for e in told("apple arrow", cut_ms=130) if isinstance(e, UtteranceEnded))
    assert [word.text for word in ended.words] == ["apple"]
    assert ended.end_s == pytest.approx(0.2, abs=0.01)


def test_speech_without_a_pause_is_settled_at_last() -> None:
    events = told(" ".join(["apple"] * 30), max_utterance_s=1.9)
    assert utterances(events) == [" ".join(["apple"] * 10)] * 3


def test_half_a_word_is_speech_but_no_utterance() -> None:
    kinds = [type(e) for e in told("apple", cut_ms=130)]
    assert kinds == [SpeechBegan, SpeechEnded, Finished]


def test_nothing_is_told_after_close() -> None:
    events: list[EngineEvent] = []
    engine_stream = TonesStream(8000, events.append, end_silence_s=0.6, max_utterance_s=60.0)
    engine_stream.close()
    engine_stream.feed(np.frombuffer(synthesize("apple [700]"), dtype="<i2"))
    engine_stream.finish()
    assert events == []
