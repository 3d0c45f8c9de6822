"""When a stream is replaced, and how attempts are held back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.rules.rollover import Backoff, CircuitBreaker, PauseRule, RotationPlan

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


@given(st.lists(SHARE, min_size=1, max_size=20))
def test_back_off_grows_with_jitter_up_to_its_bound(jitters: list[float]) -> None:
    backoff = Backoff()
    waits = [backoff.failed(jitter=jitter) for jitter in jitters]
    full = [min(0.2 * 2**i, 8.0) for i in range(len(waits))]
    assert all(whole / 2 <= wait <= whole for wait, whole in zip(waits, full, strict=True))
    backoff.succeeded()
    assert backoff.failed(jitter=0.999) <= 0.2


def test_a_quota_begins_with_a_longer_wait() -> None:
    assert Backoff().failed(jitter=0.0, quota=True) == 1.0


def test_the_breaker_lets_one_probe_through_at_a_time() -> None:
    breaker = CircuitBreaker(threshold=3, probe_every_s=1.0)
    for _ in range(3):
        breaker.failed(now=0.0)
    assert breaker.is_open
    assert breaker.wait_s(now=0.4) == pytest.approx(0.6)
    assert breaker.wait_s(now=1.0) == 0.0  # the probe
    assert breaker.wait_s(now=1.1) == pytest.approx(0.9)
    breaker.failed(now=1.2)
    assert breaker.wait_s(now=1.9) == pytest.approx(0.1)
    assert breaker.wait_s(now=2.0) == 0.0
    assert breaker.wait_s(now=2.5) == pytest.approx(0.5)  # nobody knows yet what became of it
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.wait_s(now=2.5) == 0.0


def test_calls_that_broke_together_do_not_come_back_together() -> None:
    breaker = CircuitBreaker(attempts_per_s=100)
    waits = [breaker.wait_s(now=5.0) for _ in range(300)]
    assert waits == pytest.approx([i / 100 for i in range(300)])
    assert breaker.wait_s(now=5.0 + waits[-1], has_slot=True) == 0.0
    assert breaker.wait_s(now=100.0) == 0.0  # what is over is over


def test_a_place_in_the_queue_is_worth_nothing_while_the_breaker_is_open() -> None:
    breaker = CircuitBreaker(threshold=1, probe_every_s=1.0)
    breaker.wait_s(now=0.0)
    assert breaker.wait_s(now=0.0) > 0
    breaker.failed(now=0.005)
    assert breaker.wait_s(now=0.01, has_slot=True) == pytest.approx(0.995)


def pause(rule: PauseRule, now: float, *, final_s: float, end_s: float, abreast: float | None = 0.0) -> float | None:
    start = rule.pause_start(final_end=int(final_s * 8000), call_end=int(end_s * 8000), abreast_since=abreast, now=now)
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


def test_a_pause_needs_a_recogniser_that_has_had_all_audio_long_enough_to_tell() -> None:
    rule = PauseRule()
    rule.note_speech(False, 40_000, now=5.0)
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=None) is None
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=27.1) is None
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=26.9) == 2  # heard again, not taken for silence
    assert pause(rule, 30.0, final_s=2, end_s=30, abreast=19.9) == 28
