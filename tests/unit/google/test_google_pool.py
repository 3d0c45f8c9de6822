"""Which connection gets a stream, when one is added and when one goes."""

from __future__ import annotations

import pytest

from fastcall.google.pool import PoolRule

# What happens, step by step: "+" a stream begins, "-n" one of connection n ends, "xn" one of n never began, "!n" n is
# gone, "okn" n answers, "tS" S seconds pass and what is due is closed, "~n" a stream begins that n refused. Then:
# streams by connection.
TABLE = [
    ("+", {1: 1}),
    ("+ +", {1: 2}),
    ("+ + +", {1: 2, 2: 1}),
    ("+ + + + +", {1: 2, 2: 2, 3: 1}),
    # Room that becomes free is taken before another is added, the fullest first.
    ("+ + + -1 +", {1: 2, 2: 1}),
    ("+ + + + + -2 -1 -1 +", {1: 0, 2: 2, 3: 1}),
    # An empty one goes after its time, but not the first.
    ("+ + + -2 t59", {1: 2, 2: 0}),
    ("+ + + -2 t60", {1: 2}),
    ("+ -1 t600", {1: 0}),
    ("+ + + -2 t59 + t1", {1: 2, 2: 1}),
    ("+ + + -1 -1 -2 t60", {1: 0}),
    # Its connection is gone: no more streams, and it goes with the last.
    ("+ !1 +", {1: 1, 2: 1}),
    ("+ !1 + -1 t0", {2: 1}),
    ("+ !1 + -2 t600", {1: 1, 2: 0}),
    ("+ !1 -1 t0", {}),
    ("+ !1 -1 t0 +", {2: 1}),
    # One that was refused goes to the fullest of the others, or to a new one.
    ("+ ~1", {1: 1, 2: 1}),
    ("+ ~1 ~1", {1: 1, 2: 2}),
    ("+ ~1 ~1 ~1", {1: 1, 2: 2, 3: 1}),
    # Streams that never began, one after the other.
    ("+ x1 + x1 t0", {1: 0}),
    ("+ x1 + x1 + x1 t0 +", {2: 1}),
    ("+ x1 + x1 + ok1 x1 t0", {1: 0}),
    ("+ x1 + ok1 -1 + x1 + x1 t0", {1: 0}),
]


@pytest.mark.parametrize(("steps", "streams"), TABLE)
def test_the_table(steps: str, streams: dict[int, int]) -> None:
    rule, now = PoolRule(streams=2, empty_s=60), 100.0
    for step in steps.split():
        if step == "+":
            rule.take()
        elif step[0] == "~":
            rule.take(but=int(step[1:]))
        elif step.startswith("ok"):
            rule.began(int(step[2:]))
        elif step[0] == "!":
            rule.gone(int(step[1:]))
        elif step[0] == "t":
            now += float(step[1:])
            rule.take_away(now=now)
        else:
            rule.give_back(int(step[1:]), never_began=step[0] == "x", now=now)
    assert {number: rule.streams(number) for number in rule.numbers} == streams


def test_what_the_peer_takes_is_respected_and_expected_of_new_connections() -> None:
    rule = PoolRule(streams=80)
    taken = [rule.take() for _ in range(6)]
    assert taken == [1] * 6
    rule.limit(1, 2)
    moved = []
    for _ in range(4):  # the connection refuses those beyond
        moved.append(rule.take(but=1))
        rule.give_back(1, never_began=False, now=0.0)
    assert moved == [2, 2, 3, 3]
    rule.limit(2, 3)  # it has said so by now
    assert rule.take() == 2
    rule.limit(1, None)  # it is not known any more: what is known of others
    assert [rule.take() for _ in range(3)] == [1, 3, 4]


def test_a_peer_that_takes_none_is_asked_with_one_and_one_that_takes_more_gets_no_more_than_80() -> None:
    rule = PoolRule()
    rule.limit(rule.take(), 0)
    assert rule.take() == 2
    rule.limit(1, 1_000_000)
    assert [rule.take() for _ in range(79)] == [1] * 79


def test_no_connection_carries_more_than_80() -> None:
    rule = PoolRule()
    taken = [rule.take() for _ in range(241)]
    assert [taken.count(number) for number in rule.numbers] == [80, 80, 80, 1]


def test_what_is_closed_is_told_once_and_when() -> None:
    rule = PoolRule(streams=1, empty_s=60)
    assert rule.next_deadline() is None
    first, second, third = rule.take(), rule.take(), rule.take()
    assert rule.next_deadline() is None
    rule.give_back(third, never_began=False, now=10)
    rule.give_back(second, never_began=False, now=20)
    assert rule.next_deadline() == 70
    assert rule.take_away(now=69.9) == []
    assert rule.take_away(now=70) == [third]
    assert rule.next_deadline() == 80
    assert rule.take_away(now=80) == [second]
    rule.give_back(first, never_began=False, now=90)
    assert rule.next_deadline() is None
    assert rule.take_away(now=1000) == []


def test_whether_it_has_worked() -> None:
    rule = PoolRule()
    number = rule.take()
    assert not rule.has_worked(number)
    rule.began(number)
    assert rule.has_worked(number)
