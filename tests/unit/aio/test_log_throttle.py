"""The pace of lines that strangers cause."""

from __future__ import annotations

import pytest

from fastcall.aio.log_throttle import LineLimits, LogThrottle, kind_of
from footprint import footprint


def test_one_line_in_a_while_and_the_rest_counted() -> None:
    throttle = LogThrottle(10.0)
    assert [throttle.passes(now=now) for now in (5, 6, 14.9, 15, 15, 100, 101)] == [0, None, None, 2, None, 1, None]


def test_a_call_has_an_allowance_of_each_kind_that_time_refills() -> None:
    limits = LineLimits()
    passed = [limits.passes("odd", "CA1", now=0.0) for _ in range(12)]
    assert passed == [0] * 10 + [None, None]
    assert limits.passes("other", "CA1", now=0.0) == 0
    assert limits.passes("odd", "CA2", now=0.0) == 2  # of the kind, whoever it was about
    assert limits.passes("odd", "CA1", now=9.9) is None
    assert limits.passes("odd", "CA1", now=10.0) == 1
    assert limits.held_back_in_all == 3


def test_all_calls_have_one_together() -> None:
    limits = LineLimits()
    passed = [limits.passes("odd", f"CA{number}", now=0.0) for number in range(5000)]
    assert passed.count(0) == 50
    assert limits.passes("odd", "", now=0.0) is None
    assert [limits.passes("odd", "", now=now) for now in (1.0, 1.5, 2.0)] == [4951, None, 1]


def test_what_it_remembers_is_bounded() -> None:
    """Allowances, and counts of lines that were held back."""
    limits, sizes, held_back = LineLimits(), [], 0
    for number in range(30_000):
        for _ in range(12 if number % 3 else 1):
            held_back += limits.passes(f"kind {number}", f"CA{number}", now=float(number)) is None
        if number % 10_000 == 9_999:
            sizes.append(footprint(limits)[0])
    assert held_back == limits.held_back_in_all > 2 * 4096
    assert sizes[2] < 1.1 * sizes[1] < 1.2 * sizes[0]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("message ignored: bad_field (x)", "message ignored"),
        ("worker 3 is there", "worker "),
        ("closing the socket", "closing the socket"),
        ("x" * 100, "x" * 60),
        ("", ""),
    ],
)
def test_a_kind_is_the_words_before_the_first_value(message: str, kind: str) -> None:
    assert kind_of(message) == kind
