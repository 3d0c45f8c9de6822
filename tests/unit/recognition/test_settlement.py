"""What results settle, and what is told of it."""

from __future__ import annotations

import pytest

from fastcall.events import RecognitionEvent
from fastcall.ports import StreamConfig, StreamResult
from fastcall.recognition.fallback_policy import SettledSpan
from fastcall.recognition.inputs import Log, RecognitionCommand
from fastcall.recognition.rotation import RotationPlan
from fastcall.recognition.settlement import Settlement
from fastcall.recognition.stream_state import StreamState

S = 8000


def stream(seconds: float = 10.0) -> StreamState:
    """One that was sent so much of the call from its beginning."""
    state = StreamState(StreamConfig("en-US", "default"), start=0, plan=RotationPlan(1e9, 1e9), now=0.0)
    state.map.add_audio(0, int(seconds * S))
    return state


def made() -> tuple[Settlement, list[RecognitionCommand]]:
    commands: list[RecognitionCommand] = []
    return Settlement("google", None, commands), commands


@pytest.mark.parametrize("known", ["", "one two"])
def test_silence_of_the_fallbacks_is_no_news_while_words_are_known_that_may_be_in_it(known: str) -> None:
    settlement, commands = made()
    if known:
        settlement.take_interim(stream(), StreamResult(known, False, 3 * S))
        commands.clear()
    settlement.take_span(SettledSpan(0, S, ""), "whisper")
    told = [] if known else [RecognitionEvent("final", "", S, "whisper", start_sample=0)]
    assert commands == told
    assert settlement.end == S
    assert settlement.known.text == known


def test_a_final_settles_and_the_settled_end_never_goes_back() -> None:
    settlement, commands = made()
    for text, end in (("a b", 2 * S), ("c", S)):
        settlement.take_final(stream(), StreamResult(f" {text} ", True, end), ())
    assert [(e.text, e.end_sample) for e in commands if isinstance(e, RecognitionEvent)] == [
        ("a b", 2 * S),
        ("c", 2 * S),
    ]
    assert settlement.end == 2 * S


def test_dropped_words_that_no_stream_will_settle_are_finals_before_the_one_that_dropped_them() -> None:
    settlement, commands = made()
    settlement.take_final(stream(), StreamResult("c", True, 3 * S), [("a b", S)])
    assert [e.text for e in commands if isinstance(e, RecognitionEvent)] == ["a b", "c"]


def test_what_is_odd_is_logged_once_a_call() -> None:
    settlement, commands = made()
    for _ in range(2):
        state = stream()
        state.sound([StreamResult("a", True, 0)])
        settlement.note_oddities(state)
    assert [type(command) for command in commands] == [Log]


def test_the_rest_of_the_interim_is_settled_once() -> None:
    settlement, commands = made()
    settlement.take_interim(stream(), StreamResult("a", False, S))
    settlement.commit_interim()
    settlement.commit_interim()
    assert [(e.kind, e.text) for e in commands if isinstance(e, RecognitionEvent)] == [("interim", "a"), ("final", "a")]
