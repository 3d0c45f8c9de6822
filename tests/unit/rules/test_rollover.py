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
        assert breaker.wait_s(now=0.0) == 0.0
        breaker.failed(now=0.0)
    assert breaker.is_open
    assert breaker.wait_s(now=0.4) == pytest.approx(0.6)
    assert breaker.wait_s(now=1.0) == 0.0  # the probe
    assert breaker.wait_s(now=1.1) == pytest.approx(0.9)
    breaker.failed(now=1.2)
    assert breaker.wait_s(now=1.9) == pytest.approx(0.1)
    assert breaker.wait_s(now=2.0) == 0.0
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.wait_s(now=2.0) == 0.0


def test_a_probe_that_lives_closes_the_breaker() -> None:
    breaker = CircuitBreaker(threshold=1, probe_every_s=1.0)
    breaker.failed(now=0.0)
    assert breaker.wait_s(now=1.0) == 0.0
    assert breaker.wait_s(now=2.0) == 0.0
    assert not breaker.is_open


def test_a_pause_needs_a_second_of_quiet_and_hears_again_what_is_not_settled() -> None:
    rule = PauseRule()
    assert rule.pause_start(final_end=0, call_end=80_000, now=50.0) is None  # nobody told
    rule.note_speech(False, 40_000, now=5.0)
    assert rule.pause_start(final_end=40_000, call_end=47_000, now=5.9) is None
    assert rule.pause_start(final_end=40_000, call_end=48_000, now=6.0) == 44_000
    assert rule.pause_start(final_end=20_000, call_end=48_000, now=6.0) == 20_000
    assert rule.pause_start(final_end=20_000, call_end=120_000, now=15.0) == 116_000  # that was no speech
    rule.note_speech(True, 130_000, now=16.0)
    assert rule.pause_start(final_end=20_000, call_end=400_000, now=50.0) is None
