"""When a silent peer is asked whether it is there, and when it counts as gone."""

from __future__ import annotations

import pytest

from fastcall.google.keepalive import KeepAlive


def silent() -> KeepAlive:
    return KeepAlive(after_s=20, timeout_s=10, now=0)


def test_a_peer_that_is_heard_is_not_asked() -> None:
    rule = silent()
    for now in (15, 30, 45):
        rule.heard(now=now)
        assert rule.poll(is_used=True, now=now + 19.9) == "wait"
    assert rule.wait_s(now=46) == pytest.approx(19)


def test_a_silent_one_is_asked_once_and_then_gone() -> None:
    rule = silent()
    assert rule.wait_s(now=0) == 20
    assert rule.poll(is_used=True, now=20) == "ask"
    assert rule.wait_s(now=20) == 10
    assert rule.poll(is_used=True, now=29) == "wait"
    assert rule.poll(is_used=True, now=30) == "gone"


def test_an_answer_begins_it_anew() -> None:
    rule = silent()
    assert rule.poll(is_used=True, now=20) == "ask"
    rule.heard(now=21)
    assert rule.poll(is_used=True, now=40.9) == "wait"
    assert rule.poll(is_used=True, now=41) == "ask"


def test_nobody_is_asked_on_behalf_of_nothing() -> None:
    rule = silent()
    assert rule.poll(is_used=False, now=20) == "wait"
    assert rule.wait_s(now=20) == 20
    assert rule.poll(is_used=True, now=40) == "ask"


def test_a_look_that_is_due_is_not_at_once() -> None:
    assert silent().wait_s(now=100) > 0
