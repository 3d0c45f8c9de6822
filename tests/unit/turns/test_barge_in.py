"""When a caller who speaks is listened to."""

from __future__ import annotations

import pytest

from fastcall.turns.barge_in import LOOK_AGAIN_S, BargeIn


def test_at_the_first_sound_by_default() -> None:
    rule = BargeIn(is_on=True)
    assert rule.speech_began(60, now=1.0)
    assert not rule.words_known(9)
    assert rule.next_deadline() is None
    assert rule.speech_began(60, now=2.0)


def test_off_is_never() -> None:
    rule = BargeIn(is_on=False, min_ms=100, min_words=1)
    assert not rule.speech_began(5000, now=1.0)
    assert not rule.poll(5000, now=2.0)
    assert not rule.words_known(50)
    assert rule.next_deadline() is None


def test_after_so_much_voice_and_a_cough_is_not_enough() -> None:
    rule = BargeIn(is_on=True, min_ms=300)
    assert not rule.speech_began(60, now=1.0)
    assert rule.next_deadline() == pytest.approx(1.24)
    # The cough was over after 100 ms; the hangover is no voice.
    assert not rule.poll(100, now=1.24)
    assert rule.next_deadline() == pytest.approx(1.44)
    rule.speech_ended()
    assert rule.next_deadline() is None
    assert not rule.speech_began(60, now=5.0)
    assert not rule.poll(295, now=5.25)
    assert rule.next_deadline() == pytest.approx(5.25 + LOOK_AGAIN_S)
    assert rule.poll(310, now=5.3)
    assert not rule.poll(900, now=5.9)
    assert rule.next_deadline() is None


def test_after_so_many_words_though_they_come_when_it_has_ended() -> None:
    rule = BargeIn(is_on=True, min_words=2)
    assert not rule.speech_began(60, now=1.0)
    assert rule.next_deadline() is None
    assert not rule.words_known(1)
    rule.speech_ended()
    assert rule.words_known(2)
    assert not rule.words_known(3)


def test_either_is_enough() -> None:
    rule = BargeIn(is_on=True, min_ms=1000, min_words=3)
    assert not rule.speech_began(60, now=1.0)
    assert rule.words_known(3)
    assert not rule.speech_began(60, now=3.0)
    assert rule.poll(1000, now=4.0)
    assert not rule.words_known(3)
