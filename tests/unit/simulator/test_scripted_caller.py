"""The caller who listens: when it speaks, when it breaks in, what it notes."""

from __future__ import annotations

import base64

import pytest

from fastcall.simulator.scripted_caller import PATIENCE_S, PAUSE_S, TAIL_S, Conversation, Sentence, Sound

VOICE = b"\x10" * 800


class Telephone:
    """One whose time the test makes: a frame each 20 ms."""

    def __init__(self, *sentences: Sentence, speaks_first: bool = False) -> None:
        self.now = 100.0
        self.caller = Conversation(sentences, now=self.now, speaks_first=speaks_first)
        self.frame = 0
        self.has_hung_up = False

    def hear(self, size: int) -> None:
        self.caller.media(size, now=self.now)

    def run(self, seconds: float) -> bytes:
        said = b""
        for _ in range(round(seconds / 0.02)):
            payload = self.caller.frame(self.frame, now=self.now)
            if payload is None:
                self.has_hung_up = True
                break
            said += base64.b64decode(payload)
            self.frame += 1
            self.now += 0.02
        return said


def test_it_waits_for_the_other_side_to_end() -> None:
    phone = Telephone(Sentence("hello", VOICE), Sentence("more", VOICE))
    assert set(phone.run(1.0)) == {0xFF}
    phone.hear(4000)
    assert set(phone.run(0.5 + PAUSE_S - 0.02)) == {0xFF}
    assert phone.run(0.2).count(0x10) == 800
    (said,) = phone.caller.said
    assert said.end_ms - said.start_ms == 100
    assert said.answered_at is None
    assert set(phone.run(1.0)) == {0xFF}
    answered_at = phone.now
    phone.hear(1600)
    phone.run(0.2 + PAUSE_S + 0.2)
    assert said.answered_at == answered_at
    assert len(phone.caller.said) == 2
    assert phone.caller.is_done


def test_it_breaks_in_and_notes_what_had_been_played() -> None:
    phone = Telephone(Sentence("stop", VOICE, breaks_in_after_s=0.5))
    phone.hear(16_000)
    phone.run(0.6)
    (said,) = phone.caller.said
    assert said.began_at == pytest.approx(100.5, abs=0.03)
    phone.caller.clear(now=phone.now)
    phone.run(0.1)
    assert said.cleared_at == pytest.approx(100.6, abs=0.01)
    assert said.played_ms == pytest.approx(600, abs=20)
    phone.hear(160)
    phone.run(0.04)
    assert said.answered_at is not None


def test_what_is_still_said_after_it_broke_in_is_no_answer() -> None:
    phone = Telephone(Sentence("stop", VOICE, 0.5), Sentence("more", VOICE, 0.5))
    phone.hear(16_000)
    phone.run(0.7)
    phone.hear(1600)
    phone.run(1.0)
    (said,) = phone.caller.said
    assert said.answered_at is None
    phone.caller.clear(now=phone.now)
    phone.hear(1600)
    assert said.answered_at == phone.now
    phone.run(0.6)
    assert len(phone.caller.said) == 2


def test_it_hangs_up_when_all_is_said_or_nobody_answers() -> None:
    phone = Telephone(Sentence("hello", VOICE))
    phone.hear(160)
    phone.run(1.0)
    assert not phone.has_hung_up
    phone.hear(160)
    phone.run(TAIL_S + 0.1)
    assert phone.has_hung_up
    phone = Telephone(Sentence("hello", VOICE))
    phone.run(PATIENCE_S - 0.1)
    assert not phone.has_hung_up
    phone.run(0.2)
    assert phone.has_hung_up


def test_it_may_speak_first() -> None:
    phone = Telephone(Sentence("hello", VOICE), speaks_first=True)
    assert phone.run(PAUSE_S + 0.2).count(0x10) == 800


def test_it_makes_sounds_while_the_other_side_speaks_and_waits_for_no_answer() -> None:
    cough = Sound(0.31, b"\x20" * 320)
    phone = Telephone(Sentence("hello", VOICE, sounds=(cough, Sound(0.51, b"\x30" * 160))))
    assert set(phone.run(1.0)) == {0xFF}
    phone.hear(8000)
    said = phone.run(1.0)
    assert (said.index(0x20), said.count(0x20)) == (2560, 320)
    assert (said.index(0x30), said.count(0x30)) == (4160, 160)
    assert phone.caller.said == []
    phone.run(PAUSE_S + 0.2)
    assert [each.sentence.text for each in phone.caller.said] == ["hello"]


def test_sounds_that_the_other_side_ends_before_are_not_made() -> None:
    phone = Telephone(Sentence("hello", VOICE, sounds=(Sound(5.0, b"\x20" * 320),)))
    phone.hear(1600)
    assert 0x20 not in phone.run(3.0)
    assert phone.caller.is_done
