"""Back-off and the circuit breaker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.retry import Backoff, CircuitBreaker

SHARE = st.floats(0, 1, exclude_max=True)


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
