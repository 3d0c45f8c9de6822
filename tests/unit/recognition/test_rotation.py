"""When a stream is replaced, and how attempts are held back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastcall.recognition.rotation import WORD_SAMPLES, PauseRule, RotationPlan

SHARE = st.floats(0, 0.999)


@given(SHARE, st.floats(0, 1e6))
def test_a_pause_is_taken_between_the_two_ages_and_the_second_is_the_latest(spread: float, now: float) -> None:
    plan = RotationPlan.of(after_s=240, by_s=285, now=now, spread=spread)
    assert now + 240 <= plan.in_a_pause_from <= plan.at_the_latest <= now + 285 + 1e-6
    assert not plan.is_due(now=now + 239.9, in_pause=True)
    assert plan.is_due(now=now + 285.1, in_pause=False)
    assert plan.is_due(now=plan.in_a_pause_from, in_pause=True)
    assert plan.next_deadline(now=now) == plan.in_a_pause_from
    assert plan.next_deadline(now=plan.in_a_pause_from) == plan.at_the_latest


def test_calls_of_one_second_do_not_rotate_in_one_second() -> None:
    latest = sorted(RotationPlan.of(after_s=240, by_s=285, now=0, spread=i / 300).at_the_latest for i in range(300))
    assert latest[-1] - latest[0] > 15
    assert all(sum(a <= x < a + 1 for x in latest) <= 20 for a in latest)


def pause(rule: PauseRule, now: float, *, final_s: float, end_s: float, abreast: float | None = 0.0) -> float | None:
    start = rule.pause_start(
        settled_end=int(final_s * 8000), call_end=int(end_s * 8000), caught_up_since=abreast, now=now
    )
    return None if start is None else start / 8000


def test_a_pause_needs_a_second_of_quiet_and_hears_again_what_is_not_settled() -> None:
    rule = PauseRule()
    assert pause(rule, 50.0, final_s=0, end_s=50) is None  # nobody told
    rule.note_speech(False, 40_000, now=5.0)
    assert pause(rule, 5.9, final_s=5, end_s=5.9) is None
    assert pause(rule, 6.0, final_s=5, end_s=6) == 5
    assert pause(rule, 9.0, final_s=5, end_s=9) == 7
    assert pause(rule, 6.0, final_s=2.5, end_s=6) == 2.5
    assert pause(rule, 14.9, final_s=2.5, end_s=14.9) == 2.5
    assert pause(rule, 15.0, final_s=2.5, end_s=15) == 13  # that was no speech
    rule.note_speech(True, 130_000, now=16.0)
    assert pause(rule, 50.0, final_s=2.5, end_s=50) is None


def test_a_pause_needs_a_recognizer_that_has_had_all_audio_long_enough_to_tell() -> None:
    rule = PauseRule()
    rule.note_speech(False, 40_000, now=5.0)
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=None) is None
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=27.1) is None
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=26.9) == 2  # heard again, not taken for silence
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=19.9) == 28


def test_somebody_spoke_for_certain_once_the_detector_said_where_that_ended() -> None:
    rule = PauseRule()
    assert not rule.heard_speech(0)  # nobody told
    rule.note_speech(True, 0, now=0.0)
    assert not rule.heard_speech(0)
    for end, is_certain in ((WORD_SAMPLES, False), (WORD_SAMPLES + 1, True)):
        rule.note_speech(False, end, now=1.0)
        assert rule.heard_speech(0) is is_certain
