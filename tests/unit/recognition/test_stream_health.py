"""Whether a stream serves that has not ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from fastcall.audio.replay_buffer import ReplayBuffer
from fastcall.recognition.hypothesis import Hypothesis
from fastcall.recognition.stall import STALL_S
from fastcall.recognition.stream_health import PROVEN_S, StreamHealth

S = 8000


@dataclass
class Stream:
    """A stream, as far as its health goes."""

    caught_up_since: float | None = 0.0
    has_answered: bool = False
    stuck: bool = False

    def is_stuck(self, *, now: float) -> bool:
        return self.stuck


def health(call_s: float, *, spoke_from_s: float | None = None) -> Any:
    replay_buffer = ReplayBuffer(sample_bytes=1, limit_samples=100 * S)
    replay_buffer.append(b"\xff" * int(call_s * S))
    made = StreamHealth(Hypothesis(), replay_buffer)
    made.note_speech(False, 0, now=0.0)
    if spoke_from_s is not None:
        made.note_speech(True, int(spoke_from_s * S), now=spoke_from_s)
    return made


def test_a_stream_that_takes_nothing() -> None:
    assert health(5).trouble_with(Stream(stuck=True), now=5.0) == "the recognizer accepts no audio"
    assert health(5).trouble_with(Stream(), now=5.0) == ""


def test_speech_without_a_result_is_told_once_and_then_with_more_patience() -> None:
    made = health(20, spoke_from_s=1.0)
    assert made.trouble_with(Stream(), now=1.0 + STALL_S - 0.1) == ""
    assert made.trouble_with(Stream(), now=1.0 + STALL_S) == "there was speech but no result"
    assert made.trouble_with(Stream(), now=1.0 + STALL_S) == ""
    made.answered(now=10.0)
    assert made.trouble_with(Stream(), now=10.0 + STALL_S) == "there was speech but no result"


def test_a_word_without_a_result_is_doubted_once_and_then_with_more_patience() -> None:
    made = health(30, spoke_from_s=1.0)
    made.note_speech(False, int(1.5 * S), now=2.0)
    assert not made.is_in_doubt(Stream(), now=1.0 + STALL_S - 0.1)
    assert made.is_in_doubt(Stream(), now=1.0 + STALL_S)
    assert not made.is_in_doubt(Stream(), now=1.0 + STALL_S)
    assert made.trouble_with(Stream(), now=1.0 + 2 * STALL_S) == ""


@pytest.mark.parametrize(
    ("stream", "spoke_from_s", "now", "is_proven"),
    [
        (Stream(has_answered=True), None, 0.1, True),
        (Stream(), None, PROVEN_S + 0.1, True),
        (Stream(), None, PROVEN_S - 0.1, False),
        (Stream(), 1.0, 9.0, False),  # it has something to tell, and has not
        (Stream(caught_up_since=None), None, 9.0, False),
    ],
)
def test_a_stream_that_has_worked(stream: Stream, spoke_from_s: float | None, now: float, is_proven: bool) -> None:
    assert health(9, spoke_from_s=spoke_from_s).is_proven(stream, now=now) is is_proven
