"""The pace of lines that strangers cause."""

from __future__ import annotations

from fastcall.rules.throttle import LogThrottle


def test_one_line_in_a_while_and_the_rest_counted() -> None:
    throttle = LogThrottle(10.0)
    assert [throttle.passes(now=now) for now in (5, 6, 14.9, 15, 15, 100, 101)] == [0, None, None, 2, None, 1, None]
