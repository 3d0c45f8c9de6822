"""The wait for an answer, and its parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.agent.response_latency import ResponseLatency


def test_the_parts_of_a_turn() -> None:
    clock = ResponseLatency()
    clock.ended(8000, now=10.52)
    clock.committed(3, 8000, spoken_at=10.0, now=10.7)
    turn = clock.said(now=10.9)
    assert turn is not None
    found = clock.sent(turn, now=10.95)
    assert found.utterance_id == 3
    parts = (found.endpointing_s, found.commit_s, found.agent_s, found.first_audio_s, found.gained_s)
    assert parts == pytest.approx((0.52, 0.18, 0.2, 0.05, 0.0))
    assert found.total_s == pytest.approx(0.95)


def test_only_the_first_thing_said_answers() -> None:
    clock = ResponseLatency()
    assert clock.said(now=1.0) is None
    clock.committed(1, 8000, spoken_at=1.0, now=2.0)
    assert clock.said(now=2.1) is not None
    assert clock.said(now=2.2) is None


def test_an_utterance_that_was_not_answered_is_not_any_more() -> None:
    clock = ResponseLatency()
    clock.ended(8000, now=1.5)
    clock.ended(16_000, now=2.5)
    clock.committed(1, 8000, spoken_at=1.0, now=1.7)
    clock.committed(2, 16_000, spoken_at=2.0, now=2.7)
    turn = clock.said(now=3.0)
    assert turn is not None
    assert (turn.utterance_id, turn.ended_at) == (2, 2.5)


def test_what_a_start_before_the_text_has_gained() -> None:
    for began_at, ready_at, gained in ((9.0, 9.4, 0.4), (9.8, 10.3, 0.2), (10.5, 10.6, 0.0)):
        clock = ResponseLatency()
        clock.committed(1, 8000, spoken_at=9.0, now=10.0)
        turn = clock.said(now=max(10.0, ready_at), began_at=began_at, ready_at=ready_at)
        assert turn is not None
        assert turn.gained_s == pytest.approx(gained)


@given(st.lists(st.floats(0, 5), min_size=5, max_size=5))
def test_the_parts_add_up(steps: list[float]) -> None:
    spoken, ended, committed, said, sent = (100 + sum(steps[: n + 1]) for n in range(5))
    clock = ResponseLatency()
    clock.ended(1, now=ended)
    clock.committed(1, 1, spoken_at=spoken, now=committed)
    turn = clock.said(now=said)
    assert turn is not None
    found = clock.sent(turn, now=sent)
    parts = (found.endpointing_s, found.commit_s, found.agent_s, found.first_audio_s)
    assert sum(parts) == pytest.approx(found.total_s)
    assert min(parts) >= 0
